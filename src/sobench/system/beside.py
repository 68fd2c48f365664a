"""Work that a fork of this process does beside other work, where a fork is safe."""

from __future__ import annotations

import os
import pickle
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar

from sobench.system.devices import cores

T = TypeVar("T")
R = TypeVar("R")

OWN = ("heartbeat",)
"""The threads of sobench's own that may run: they hold no lock that such work needs."""


@contextmanager
def beside(work: Callable[[], object]) -> Iterator[None]:
    """Do `work` while the body runs, whose data the body does not change. All is written when the context ends.

    Elsewhere than on Linux, with one core, or with threads of other code, the work follows the body. Its exceptions are
    raised at the end, in this process. After an exception of the body, what is written is a part of the work.
    """
    if not _may_fork():
        yield
        work()
        return

    def alone() -> None:
        work()  # its result need not be one that can be pickled

    with _forked(alone) as finish:
        yield
        finish()


def each(work: Callable[[T], R], items: Sequence[T]) -> list[R]:
    """The result of the work on each item, in their order; each core has a part of the items.

    The results are pickled. Where `beside` would not fork, this process does all.
    """
    count = max(1, min(len(items), len(cores()))) if _may_fork() else 1
    parts = [items[first::count] for first in range(count)]
    found: list[Any] = [None] * len(items)
    with ExitStack() as stack:
        forks = [stack.enter_context(_forked(lambda part=part: list(map(work, part)))) for part in parts[1:]]
        found[::count] = map(work, parts[0])
        for first, finish in enumerate(forks, 1):
            found[first::count] = finish()
    return found


def _may_fork() -> bool:
    """Whether this process has another core to use, and no thread of other code, which could hold a lock."""
    others = {thread.name for thread in threading.enumerate()} - {threading.main_thread().name, *OWN}
    return sys.platform == "linux" and not others and len(cores()) > 1


@contextmanager
def _forked(work: Callable[[], R]) -> Iterator[Callable[[], R]]:
    """A fork of this process does the work. Yields a function that waits for the fork and gives its result.

    If the fork fails, whatever was raised there, the function does the work again in this process, and raises it here.
    A fork that is not waited for is killed.
    """
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of numpy's threads, which a fork leaves behind
        fork = os.fork()
    if not fork:
        _answer(work, writer)
    os.close(writer)
    running = True

    def finish() -> R:
        nonlocal running
        with os.fdopen(reader, "rb", closefd=False) as pipe:
            answer = pipe.read()
        failed = os.waitpid(fork, 0)[1] != 0
        running = False
        return work() if failed else pickle.loads(answer)

    try:
        yield finish
    finally:
        os.close(reader)
        if running:
            os.kill(fork, signal.SIGKILL)
            os.waitpid(fork, 0)


def _answer(work: Callable[[], object], writer: int) -> None:
    """Write the pickled result of the work into a pipe, and end this process: with 0 if nothing was raised."""
    code = 1
    try:
        answer = pickle.dumps(work())
        with os.fdopen(writer, "wb") as pipe:
            pipe.write(answer)
        code = 0
    finally:
        os._exit(code)
