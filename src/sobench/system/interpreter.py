"""What Python would spend on garbage that is none: while modules are loaded, after every run of a worker, at the end. No torch.

torch and what its optimizers load make a million objects that live as long as the process, and so do the records of many runs. A
fifth of the time to load them is spent on looking for garbage among them; each later search takes 0.2 s or more, and joblib's
workers make one after every run; and taking the interpreter apart takes more than a second.
"""

from __future__ import annotations

import atexit
import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_jobs = 0


@contextmanager
def put_off() -> Iterator[None]:
    """No search for garbage where many objects are made of which none is: modules, records, reports. Also as a decorator.

    They count as old then, or the next object to be made would have them all searched; and what the first run of a worker has
    loaded is never searched again."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            if _jobs == 1:
                gc.freeze()
            elif _jobs == 0 and not gc.get_freeze_count():  # what somebody else has frozen stays so
                gc.freeze()
                gc.unfreeze()
            gc.enable()


def begin_job() -> None:
    """In a process that a launcher started, before each of its runs."""
    global _jobs
    _jobs += 1


class QuickEnd:
    """Made before all else, it ends the process when all that was registered for its end is done. `code`: the exit code."""

    def __init__(self) -> None:
        self.code = 1
        atexit.register(self._leave)  # the first that is registered is the last that is called

    def _leave(self) -> None:
        for stream in filter(None, (sys.stdout, sys.stderr)):
            try:
                stream.flush()
            except (OSError, ValueError):
                self.code = 120  # as Python has it
        os._exit(self.code)
