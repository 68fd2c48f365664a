"""Requests to stop a run: a signal to its process, or a file that all processes of its sweep look for. No torch.

After the first SIGINT or SIGTERM, training continues to the next row of the record (`log.every` steps: any other number
would change the record), writes a checkpoint and leaves. The second signal ends the run at once. Stopping a sweep
creates the file runs/.sweeps/<id>.stop, which its workers find on any machine.

Python runs signal handlers in the main thread, between two instructions: a factorization of LAPACK's may keep it for
hours. So a watcher thread learns of each signal too, through Python's wake-up file descriptor. It announces a request
that the main thread has not taken up, and ends the process if the main thread does not leave after the second signal.
"""

from __future__ import annotations

import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import NoReturn

from sobench.system.output import say

SWEEP = "SOBENCH_SWEEP"
"""Environment variable of the processes of a sweep: "<number of runs>:<absolute path of the sweep's file>"."""

SIGNALS = (signal.SIGINT, signal.SIGTERM)

ANSWER = 0.5
"""Seconds that the main thread has to take up the first signal, before the watcher does."""

LEAVE = 2.0
"""Seconds that the main thread has to leave after the second signal, before the watcher ends the process."""


class _Request:
    """The first signal that this process received inside `listening`, and the function that announces it."""

    def __init__(self) -> None:
        self.begin(say)

    def begin(self, say: Callable[[str], None]) -> None:
        """Forget the signals that were received."""
        self.signal: signal.Signals | None = None
        self.say = say
        self.answered = threading.Event()  # the main thread has run the handler
        self.left = threading.Event()  # the main thread has left `listening`
        self._received = 0
        self._to_announce = [True]

    def receive(self, number: int, frame: FrameType | None) -> None:
        """The signal handler, in the main thread. Raises KeyboardInterrupt for the second signal."""
        if self.answered.is_set() or self._received > 1:  # Python may call it once for two equal signals
            raise KeyboardInterrupt(signal.Signals(number).name)
        self.answered.set()
        self._announce(number)

    def watch(self, pipe: int) -> None:
        """Read the number of each signal from the pipe until it is closed, in the watcher thread."""
        while number := os.read(pipe, 1):
            if number[0] not in SIGNALS:
                continue
            self._received += 1
            if self._received > 1:
                if not self.left.wait(LEAVE):
                    _end_process(number[0])
            elif not self.answered.wait(ANSWER):
                self._announce(number[0])

    def _announce(self, number: int) -> None:
        """Take up the first signal, in whichever thread comes first."""
        try:
            self._to_announce.pop()
        except IndexError:
            return
        self.signal = signal.Signals(number)
        self.say(f"{self.signal.name}: going on to the next checkpoint, then leaving; once more to leave at once")


def _end_process(number: int) -> NoReturn:
    """End the process in the middle of whatever the main thread does. A later command resumes its run."""
    show_cursor = b"\x1b[?25h" if os.isatty(2) else b""  # a progress display hides it
    with suppress(OSError):
        os.write(2, show_cursor + b"sobench: stopped in the middle of a step; repeat the command to resume\n")
    os._exit(128 + number)


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


def sweep_file() -> Path:
    """The file of the sweep of this process."""
    return Path(os.environ[SWEEP].partition(":")[2])


def stop_file() -> Path:
    """The file whose existence stops the sweep of this process."""
    return sweep_file().with_suffix(".stop")


@contextmanager
def listening(say: Callable[[str], None]) -> Iterator[None]:
    """Inside, the first signal is a request to stop, announced with `say`, and the second a KeyboardInterrupt.

    If the KeyboardInterrupt does not leave the context in time, because a library's call does not return, the process
    ends. `say` may be called in another thread. Contexts nest, and the outermost one handles the signals. In a thread
    other than the main one there is no effect.
    """
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) is _handler:
        yield
        return
    _request.begin(say)
    with _watching():
        before = {number: signal.signal(number, _handler) for number in SIGNALS}
        try:
            yield
        finally:
            _request.signal = None
            for number, handler in before.items():
                signal.signal(number, handler)


def leave_interrupts_to_the_sweep() -> None:
    """Ignore Ctrl-C in this process, a launcher's worker, outside `listening`; the stop file tells it of the request.

    Ctrl-C reaches all processes of a terminal. A worker that it ended between two runs would take the others along.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextmanager
def handlers_kept() -> Iterator[None]:
    """Around code of a library that installs signal handlers of its own: afterwards those from before are in place."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is not None:  # not set by Python
                signal.signal(number, handler)


@contextmanager
def _watching() -> Iterator[None]:
    """Inside, the watcher thread learns of every signal of this process."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    watcher = threading.Thread(target=_request.watch, args=(reader,), name="signals", daemon=True)
    watcher.start()
    before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    try:
        yield
    finally:
        _request.left.set()
        signal.set_wakeup_fd(before)
        os.close(writer)
        watcher.join()
        os.close(reader)


@contextmanager
def time_limit(seconds: float | None) -> Iterator[Callable[[], None]]:
    """Raise TimedOut inside the context, at whatever statement, after so many seconds; None is no limit.

    Yields a function that raises TimedOut if the time is over. It keeps the limit where other code has caught the first
    exception, outside the main thread, and on a system without timers.
    """
    end = math.inf if seconds is None else time.monotonic() + seconds

    def over(*_: object) -> None:
        raise TimedOut(f"longer than timeout={seconds:g} s")

    def check() -> None:
        if time.monotonic() > end:
            over()

    if seconds is None or threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
        yield check
        return
    before = signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield check
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
