"""A thread that repeats a function, and processes that start in milliseconds. No torch."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.context import ForkServerContext, SpawnContext


@contextmanager
def run_periodically(work: Callable[[], float], pause: float, name: str) -> Iterator[None]:
    """Call `work` in a thread inside the context: after `pause` seconds, then after as many seconds as it returns.

    name: the thread's.
    """
    over = threading.Event()

    def repeat() -> None:
        wait = pause
        while not over.wait(wait):
            wait = work()

    thread = threading.Thread(target=repeat, name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def forkserver_context(preload: Sequence[str]) -> ForkServerContext | SpawnContext:
    """A multiprocessing context whose processes inherit nothing of this one.

    They are forked from a server that has imported the modules `preload`. On a system without fork servers they are
    spawned.
    """
    if multiprocessing.get_start_method(allow_none=True) not in (None, *multiprocessing.get_all_start_methods()):
        multiprocessing.set_start_method(None, force=True)  # joblib's workers have "loky", unknown to a new process
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(preload))
    return context
