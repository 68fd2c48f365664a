"""Work beside the work: a thread that looks after something again and again, and processes that start in milliseconds. No torch."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerContext, SpawnContext


@contextmanager
def repeated(work: Callable[[], float], pause: float, name: str) -> Iterator[None]:
    """Inside, a thread does `work` after `pause` seconds, and again after as many as it returns."""
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


def clean_processes(preload: Sequence[str]) -> ForkServerContext | SpawnContext:
    """What starts processes with nothing of this one in them: forked from a server that has imported `preload`; anew where a
    system has no such server."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(preload))
    return context
