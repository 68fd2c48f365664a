"""Holders of things on disk, a run or a sweep: which process holds one, and whether that process is alive. No torch.

A holder keeps a lock, which the system frees when the process dies. A file beside the lock describes the holder; its
time stamp is the heartbeat. On the holder's own machine the lock decides. Another machine may not see the lock, and
uses the heartbeat.
"""

from __future__ import annotations

import json
import os
import socket
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from sobench.system.files import parse_json, write_atomically
from sobench.system.processes import run_periodically

HEARTBEAT = 10.0
"""Seconds between two heartbeats."""
STALE = 60.0
"""Seconds without a heartbeat after which a holder on another machine counts as dead."""


@dataclass(frozen=True)
class Holder:
    """Process `pid` on `host`, the time since when it holds, the seconds since its last heartbeat; None: unknown."""

    pid: int | None = None
    host: str | None = None
    since: str | None = None
    age: float | None = None

    def __str__(self) -> str:
        """ "123@vm since 2026-01-01T12:00:00+0000, heartbeat 4 s ago" """
        who = f"{self.pid}@{self.host} since {self.since}" if self.pid else "another process"
        return who if self.age is None else f"{who}, heartbeat {max(0.0, self.age):.0f} s ago"


def now() -> str:
    """The local time with its offset: "2026-01-31T10:00:00+0000"."""
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")


def who() -> dict[str, object]:
    """The description of this process as a holder."""
    return {"pid": os.getpid(), "host": socket.gethostname(), "since": now()}


def holder(description: Path, lock: Path) -> Holder | None:
    """The living holder of `lock`, as the file `description` has it; None if there is none. Raises nothing."""
    if locked(lock):
        return _read(description) or Holder()
    return elsewhere(description)


def elsewhere(description: Path) -> Holder | None:
    """The holder in the file `description` if it is alive on another machine, whose lock may not be visible here."""
    other = _read(description)
    if other is None or other.host == socket.gethostname() or other.age is None or other.age >= STALE:
        return None
    return other


def _read(description: Path) -> Holder | None:
    """The holder in a file; None where it cannot be read."""
    try:
        beat, fields = description.stat().st_mtime, parse_json(description.read_bytes())
        age = file_system_time(description.parent) - beat
        if age < -HEARTBEAT:  # the clock of its machine is ahead: from now on it ages by the clock of this one
            os.utime(description)
            age = 0.0
        return Holder(int(fields["pid"]), str(fields["host"]), str(fields["since"]), age)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def file_system_time(folder: Path) -> float:
    """The present time of the clock that stamps the files of `folder`: a file server may have a clock of its own."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            return os.fstat(file.fileno()).st_mtime
    except OSError:  # the folder cannot be written
        return time.time()


class Hold:
    """This process as the holder that the file `description` names. Writes the file.

    number: larger than `after` and than that of the holder before. A process that stood still longer than STALE may
    have a successor, which wrote the file again: `stands` tells it.
    """

    def __init__(self, description: Path, after: int = 0):
        self._description = description
        before = _fields(description).get("number")
        self.number = 1 + max(after, before if isinstance(before, int) else 0)
        self._fields = {**who(), "number": self.number, "nonce": uuid.uuid4().hex}
        write_atomically(description, json.dumps(self._fields, indent=1).encode())

    def stands(self) -> bool:
        """Whether the file still names this process. Raises OSError if that cannot be known."""
        return _fields(self._description) == self._fields


def _fields(description: Path) -> dict[str, object]:
    """The contents of the file of a holder; empty if it is missing or damaged."""
    try:
        fields = parse_json(description.read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return fields if isinstance(fields, dict) else {}


@contextmanager
def beating(*paths: Path, stands: Callable[[], bool] = lambda: True) -> Iterator[None]:
    """Touch the files every HEARTBEAT seconds inside the context. Errors of a disk that is full or away are ignored.

    stands: whether the files are still this process's own.
    """

    def beat() -> float:
        for path in paths:
            with suppress(OSError):
                if stands():
                    os.utime(path)
        return HEARTBEAT

    with run_periodically(beat, HEARTBEAT, "heartbeat"):
        yield


def locked(path: Path) -> bool:
    """Whether a process holds the lock.

    It tries to take a shared lock without waiting: this creates no file, needs no permission to write, and two
    processes that ask at once do not see each other.
    """
    try:
        import fcntl
    except ImportError:  # not POSIX
        return path.exists() and _held(path)
    try:
        with open(path, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def _held(path: Path) -> bool:
    from filelock import FileLock, Timeout

    try:
        with FileLock(path, timeout=0):
            return False
    except Timeout:
        return True
