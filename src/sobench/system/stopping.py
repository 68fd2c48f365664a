"""Requests to stop a run: a signal to its process, or a file that all processes of its sweep look for. No torch.

After the first SIGINT or SIGTERM, training continues to the next row of the record (`log.every` steps: any other number
would change the record), writes a checkpoint and leaves. The second signal ends the run at once. Stopping a sweep
creates the file runs/.sweeps/<id>.stop, which its workers find on any machine.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

SWEEP = "SOBENCH_SWEEP"
"""Environment variable of the processes of a sweep: "<number of runs>:<absolute path of the sweep's file>"."""

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class _Request:
    """The first signal that this process received inside `listening`, and the function that announces it."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self.say: Callable[[str], None] = print

    def receive(self, number: int, frame: FrameType | None) -> None:
        """The signal handler. Raises KeyboardInterrupt for the second signal."""
        if self.signal:
            raise KeyboardInterrupt
        self.signal = signal.Signals(number)
        self.say(f"{self.signal.name}: going on to the next checkpoint, then leaving; once more to leave at once")


_request = _Request()
_handler = _request.receive  # one object: a bound method is a new one at each access


class Stopped(KeyboardInterrupt):
    """The run was asked to stop and has written its checkpoint. The text is the reason."""


class TimedOut(Exception):
    """An attempt took longer than its setting `timeout` allows."""


def asked() -> str | None:
    """The reason why this process has to stop; None if it has not."""
    return received() or ("the sweep was stopped" if in_sweep() and stop_file().exists() else None)


def received() -> str | None:
    """The name of the signal that this process was asked to stop by; None without one."""
    return _request.signal.name if _request.signal else None


def in_sweep() -> bool:
    """Whether this process belongs to a sweep."""
    return SWEEP in os.environ


def sweep_size() -> int:
    """The number of runs that the sweep of this process has to train."""
    return int(os.environ[SWEEP].partition(":")[0])


def stop_file() -> Path:
    """The file whose existence stops the sweep of this process."""
    return Path(os.environ[SWEEP].partition(":")[2]).with_suffix(".stop")


@contextmanager
def listening(say: Callable[[str], None]) -> Iterator[None]:
    """Inside, the first signal is a request to stop, announced with `say`, and the second a KeyboardInterrupt.

    Contexts nest, and the outermost one handles the signals. In a thread other than the main one there is no effect.
    """
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) is _handler:
        yield
        return
    before = {number: signal.signal(number, _handler) for number in SIGNALS}
    _request.say = say
    try:
        yield
    finally:
        _request.signal = None
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def time_limit(seconds: float | None) -> Iterator[None]:
    """Raise TimedOut inside the context, at whatever statement, after so many seconds; None is no limit.

    Without effect outside the main thread and on a system without timers.
    """
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
