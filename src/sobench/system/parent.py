"""Ends this process with another one, its owner: a worker with the launcher of its sweep. No torch.

A process that is killed cannot end its own workers. Linux does it in two ways, and a worker asks for both: a signal
when its direct parent dies, which reaches a worker that is stopped or deep in a library's call, and a file descriptor
of the owner, which a thread waits for. The owner need not be the direct parent. Other systems have a thread that looks
at the owner every POLL seconds.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

POLL = 1.0
"""Seconds between two looks at the owner on a system without process file descriptors."""

PR_SET_PDEATHSIG = 1
"""The option of Linux' prctl for the signal at the parent's death; see linux/prctl.h."""


@dataclass(frozen=True)
class Owner:
    """A process of this machine, by its id and its start: the system gives the id of a dead process to a new one."""

    pid: int
    started: str | None
    """Clock ticks since the boot; None where the system has no /proc."""

    @classmethod
    def of(cls, pid: int) -> Owner:
        return cls(pid, _started(pid))

    @classmethod
    def this_process(cls) -> Owner:
        return cls.of(os.getpid())

    def alive(self) -> bool:
        """Whether the process has not ended. A process that has ended, and that its parent did not ask about, has."""
        if self.started is not None:
            return _started(self.pid) == self.started
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:  # it is another user's
            return True
        return True

    def wait(self) -> None:
        """Return when the process has ended."""
        with suppress(AttributeError, OSError):  # no Linux, a kernel before 5.3, or the process has ended
            descriptor = os.pidfd_open(self.pid)
            if self.alive():  # and so is the process that the descriptor belongs to
                select.select([descriptor], [], [])
            os.close(descriptor)
        while self.alive():
            threading.Event().wait(POLL)


def _started(pid: int) -> str | None:
    """The start of a process that has not ended, by /proc; None if it has ended, or on a system without /proc."""
    try:
        fields = (
            Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        )  # after the name, which may have spaces
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]


_owners: list[Owner] = []
"""The owners of this process: at most one, unless a sweep has begun in a worker of another."""


def owner() -> Owner:
    """The owner of this process; this process if it has none."""
    return _owners[0] if _owners else Owner.this_process()


def end_with(owner: Owner) -> None:
    """End this process, in the middle of whatever it does, when `owner` ends or its direct parent does.

    A second call with the same owner has no effect. The direct parent is the owner, or a process that ends with it. It
    has to start this process from a thread that lives as long as itself: Linux sends the signal when the thread ends.
    """
    if owner in _owners:
        return
    _owners.append(owner)
    _ask_for_signal()
    if not owner.alive():  # it ended before the signal was asked for
        os._exit(1)
    threading.Thread(target=_watch, args=(owner,), name="owner", daemon=True).start()


def _ask_for_signal() -> None:
    """SIGKILL at the death of the direct parent, on Linux."""
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):  # a C library without prctl: the thread remains
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _watch(owner: Owner) -> None:
    owner.wait()
    os._exit(1)
