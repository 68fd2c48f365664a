"""How a run is asked to stop: by a signal to its process, or by a file that all processes of its sweep look for. No torch.

The first SIGINT or SIGTERM lets training go on to the next row of the record (`log.every` steps: a row more would be another
record), writes a checkpoint there and leaves; the second leaves at once. A sweep that is stopped writes runs/.sweeps/<id>.stop,
which its workers find wherever they are.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

SWEEP = "SOBENCH_SWEEP"
"""Environment variable of the processes that make a sweep's runs: "<runs to make>:<absolute path of the sweep's file>"."""

SIGNALS = (signal.SIGINT, signal.SIGTERM)

_received: signal.Signals | None = None
"""The signal that this process was asked to stop by, until `listening` ends."""


class Stopped(KeyboardInterrupt):
    """The run was asked to stop and has written its checkpoint; the text says by what."""


class TimedOut(Exception):
    """An attempt took longer than its setting `timeout` allows."""


def asked() -> str | None:
    """By what this process was asked to stop; None if it was not."""
    return received() or ("the sweep was stopped" if in_sweep() and stop_file().exists() else None)


def received() -> str | None:
    """The signal that this process was asked to stop by."""
    return _received and _received.name


def in_sweep() -> bool:
    return SWEEP in os.environ


def sweep_size() -> int:
    """How many runs the sweep of this process has to make."""
    return int(os.environ[SWEEP].partition(":")[0])


def stop_file() -> Path:
    return Path(os.environ[SWEEP].partition(":")[2]).with_suffix(".stop")


@contextmanager
def listening(say: Callable[[str], None]) -> Iterator[None]:
    """Inside, the first signal is a request and the second a KeyboardInterrupt. Contexts nest: the outermost listens."""
    global _received
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) is _receive:
        yield
        return
    before = {number: signal.signal(number, _receive) for number in SIGNALS}
    _receive.say = say
    try:
        yield
    finally:
        _received = None
        for number, handler in before.items():
            signal.signal(number, handler)


def _receive(number: int, frame: object) -> None:
    global _received
    if _received:
        raise KeyboardInterrupt
    _received = signal.Signals(number)
    _receive.say(f"{_received.name}: going on to the next checkpoint, then leaving; once more to leave at once")


@contextmanager
def time_limit(seconds: float | None) -> Iterator[None]:
    """Raise TimedOut inside, wherever the work is, once so many seconds have gone by; in a main thread, on a system with timers."""
    if seconds is None or threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
        yield
        return

    def over(number: int, frame: object) -> None:
        raise TimedOut(f"longer than timeout={seconds:g} s")

    before = signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
