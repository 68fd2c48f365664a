"""Work that writes files, done by a fork of this process beside the work that follows, where a fork is safe."""

from __future__ import annotations

import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sobench.system.devices import cores

OWN = ("heartbeat",)
"""The threads of sobench's own that may run: they hold no lock that such work needs."""


@contextmanager
def beside(work: Callable[[], object]) -> Iterator[None]:
    """Do `work` while the body runs, whose data the body does not change. All is written when the context ends.

    Elsewhere than on Linux, with one core, or with threads of other code, the work follows the body. Its exceptions are
    raised at the end, in this process. After an exception of the body, what is written is a part of the work.
    """
    fork = _forked(work) if _may_fork() else None
    try:
        yield
    except BaseException:
        if fork:
            os.kill(fork, signal.SIGKILL)
            os.waitpid(fork, 0)
        raise
    if not fork or os.waitpid(fork, 0)[1]:
        work()


def _may_fork() -> bool:
    """Whether this process has another core to use, and no thread of other code, which could hold a lock."""
    others = {thread.name for thread in threading.enumerate()} - {threading.main_thread().name, *OWN}
    return sys.platform == "linux" and not others and len(cores()) > 1


def _forked(work: Callable[[], object]) -> int:
    """The id of a process that does the work; its exit code is 0 if it did."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of numpy's threads, which a fork leaves behind
        fork = os.fork()
    if fork:
        return fork
    code = 1
    try:
        work()
        code = 0
    finally:
        os._exit(code)  # whatever was raised: the other process tries again, and raises it there
