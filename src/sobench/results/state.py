"""The state of one run, read from its directory alone. No pandas, no torch: `sobench status` answers at once."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

FINISHED = ("done", "diverged", "out-of-memory", "failed", "skipped")
"""Written by the run itself, in summary.json; the work is over."""
STATUSES = (*FINISHED, "running", "interrupted", "missing")

_TAIL = 1 << 16  # bytes: holds many metrics lines; only the last whole one is wanted


@dataclass(frozen=True)
class State:
    """Where a run stands. step, epoch (of the training set) and seconds are the last that were recorded."""

    status: str
    reason: str | None = None
    step: int | None = None
    epoch: float | None = None
    seconds: float | None = None
    summary: dict = field(default_factory=dict, compare=False, repr=False)

    @property
    def finished(self) -> bool:
        return self.status in FINISHED


def state(directory: Path) -> State:
    """State of the run in `directory`. Never raises on what it finds there: a damaged summary is a reason."""
    directory = Path(directory)
    if not directory.is_dir():
        return State("missing")
    summary, damage = _summary(directory / "summary.json")
    if summary is not None:
        return State(summary["status"], summary.get("reason"), summary.get("steps"), summary.get("epochs"),
                     summary.get("seconds"), summary)
    row = last_row(directory / "metrics.jsonl")
    if locked(directory / "lock"):
        status = "running"
    elif row or damage:
        status = "interrupted"
    else:
        return State("missing")
    row = row or {}
    return State(status, damage, row.get("step"), row.get("epoch"), row.get("seconds"))


def _summary(path: Path) -> tuple[dict | None, str | None]:
    """The summary, or None; and what is wrong with it, if it is there and cannot be used."""
    try:
        summary = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None, None
    except (OSError, ValueError):
        return None, "summary.json is damaged"
    if not isinstance(summary, dict) or summary.get("status") not in FINISHED:
        return None, "summary.json is damaged"
    return summary, None


def last_row(path: Path) -> dict | None:
    """The last whole row of metrics.jsonl: a line that ends and parses."""
    try:
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _TAIL))
            lines = file.read().split(b"\n")
    except OSError:
        return None
    for line in reversed(lines[:-1]):  # what follows the last newline was never finished
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            return row
    return None


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
