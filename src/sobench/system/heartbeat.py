"""Who holds a thing that lies on disk, a run or a sweep, and whether they still live. No pandas, no torch.

A holder keeps a lock, which the system frees when it dies, and a file beside it that says who it is and whose time stamp is its
heartbeat. On the holder's own machine the lock is the truth; from any other, where a lock may not be seen, the heartbeat is.
"""

from __future__ import annotations

import json
import os
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from sobench.system.processes import repeated

HEARTBEAT = 10.0
"""Seconds between two heartbeats."""
STALE = 60.0
"""Seconds without a heartbeat after which a holder on another machine is given up."""


@dataclass(frozen=True)
class Holder:
    """Process `pid` on `host`, since when, and the seconds since its last heartbeat."""

    pid: int | None = None
    host: str | None = None
    since: str | None = None
    age: float | None = None

    def __str__(self) -> str:
        """ "123@vm since 2026-01-01T12:00:00+0000, heartbeat 4 s ago" """
        who = f"{self.pid}@{self.host} since {self.since}" if self.pid else "another process"
        return who if self.age is None else f"{who}, heartbeat {max(0.0, self.age):.0f} s ago"


def now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")


def who() -> dict[str, object]:
    """What this process says of itself as a holder."""
    return {"pid": os.getpid(), "host": socket.gethostname(), "since": now()}


def holder(said: Path, lock: Path) -> Holder | None:
    """The living holder of `lock`, who wrote `said`; None if there is none. Raises nothing, whatever the files hold."""
    if locked(lock):
        return _said(said) or Holder()
    return elsewhere(said)


def elsewhere(said: Path) -> Holder | None:
    """The holder who wrote `said`, if that is another machine, whose lock may not be seen here, and it lives."""
    found = _said(said)
    return found if found and found.host != socket.gethostname() and found.age < STALE else None


def _said(path: Path) -> Holder | None:
    try:
        beat, says = path.stat().st_mtime, json.loads(path.read_bytes())
        return Holder(int(says["pid"]), str(says["host"]), str(says["since"]), file_system_time(path.parent) - beat)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def file_system_time(folder: Path) -> float:
    """Now, by the clock that stamps the files of `folder`: a server's may be another than this machine's."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            return os.fstat(file.fileno()).st_mtime
    except OSError:  # not ours to write to
        return time.time()


@contextmanager
def beating(*paths: Path) -> Iterator[None]:
    """Touch the files every HEARTBEAT seconds. A heartbeat that fails, for a disk that is full or away, is no reason to stop."""

    def beat() -> float:
        for path in paths:
            with suppress(OSError):
                os.utime(path)
        return HEARTBEAT

    with repeated(beat, HEARTBEAT, "heartbeat"):
        yield


def locked(path: Path) -> bool:
    """Whether a process holds the lock. Asks for a shared lock without waiting, so that it creates no file, needs no
    right to write, and two that ask do not see each other."""
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
