"""Garbage collection and the end of a process, where Python's own way is slow for no benefit. No torch.

torch and the modules that its optimizers import create a million objects that live as long as the process; the records
of many runs do too. Collections during their creation take a fifth of the time of the imports. Each later full
collection takes 0.2 s or more, and joblib's workers make one after every run. Taking the interpreter apart at the end
takes more than a second.
"""

from __future__ import annotations

import atexit
import gc
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

_worker_jobs = 0
"""Jobs that this process has begun as a worker of a launcher; 0 in every other process."""


@contextmanager
def paused_gc() -> Iterator[None]:
    """Pause garbage collection for work that creates many objects and little garbage: imports, records, reports.

    At the end the objects count as old, since otherwise the next allocation would start a search through all of them.
    In the first job of a worker they are exempt from every later collection (`gc.freeze`). Contexts nest; one inside a
    process whose collector is off has no effect.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        _settle()
        gc.enable()


def _settle() -> None:
    """Keep the next collections from searching the objects that exist now."""
    if _worker_jobs == 1:
        gc.freeze()
    elif _worker_jobs == 0 and not gc.get_freeze_count():  # unfreeze would undo what other code has frozen
        gc.freeze()
        gc.unfreeze()  # into the oldest generation


def begin_worker_job() -> None:
    """Count a job of this process, which a launcher started: what its first job loads stays loaded for the others."""
    global _worker_jobs
    _worker_jobs += 1


def fast_exit(code: int) -> NoReturn:
    """End this process with an exit code, without taking the interpreter apart.

    First comes what Python does at its end: threads other than daemons are joined, the functions registered with atexit
    are called, standard output and error are flushed; if that fails, the exit code is 120, as Python's own. Modules and
    objects are not destroyed, and files that are still open are not flushed.
    """
    try:
        join_threads = threading._shutdown  # pyright: ignore[reportAttributeAccessIssue] - private, as in multiprocessing
        call_exit_functions = atexit._run_exitfuncs
    except AttributeError:  # another Python than CPython: the slow end
        sys.exit(code)
    join_threads()
    call_exit_functions()
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):
            code = 120
    os._exit(code)
