"""The state of one run, read from its directory alone. No pandas, no torch, so that `sobench status` is fast."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sobench.results.parse import loads
from sobench.system.heartbeat import Holder, holder

FINISHED = ("done", "diverged", "out-of-memory", "timed-out", "failed", "skipped")
"""The states that a run writes to its summary.json when it is over."""
KEEPS = ("done", "diverged")
"""The states of a result: a repeated command skips the run. A run of any other state is tried again."""
SHARED, CONTENDED = "shared", "contended"
"""Instead of the status of a run, where its time is asked for: another process computed on its GPU, or other work on
the machine slowed it down (see sobench.system.contention)."""
QUIET = "quiet"
"""The timing of a run that no other work slowed down."""
STATUSES = (*FINISHED, "running", "queued", "interrupted", "missing")

_TAIL = 1 << 16  # bytes: many lines of metrics.jsonl, of which the last complete one is read


@dataclass(frozen=True)
class State:
    """The state of a run, with the last recorded step, epoch and seconds, and the process that makes it (holder)."""

    status: str
    reason: str | None = None
    step: int | None = None
    epoch: float | None = None
    seconds: float | None = None
    holder: Holder | None = None
    summary: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)

    @property
    def finished(self) -> bool:
        return self.status in FINISHED

    @property
    def total_seconds(self) -> float:
        """The recorded time of the run, with that of the warm start."""
        return (self.seconds or 0.0) + (self.summary.get("warm_start_seconds") or 0.0)

    @property
    def disturbed(self) -> str | None:
        """The reason why the times of the run do not count, SHARED or CONTENDED; None for a run without a judgement,
        made before there was any."""
        if self.summary.get("shared"):
            return SHARED
        timing = self.summary.get("timing")
        return CONTENDED if isinstance(timing, dict) and timing.get("quality") == CONTENDED else None


def state(directory: Path | str, queue: Mapping[str, Holder] | None = None) -> State:
    """The state of the run in `directory`.

    queue: the processes of the runs that have not begun, see sweeps.queue. Damaged files raise nothing; a damaged
    summary is the reason of the state.
    """
    path = os.path.join(directory, "summary.json")
    summary, damage = _summary(path)
    if summary is not None:
        return _finished(summary)
    folder = Path(directory)
    row = last_row(folder / "metrics.jsonl")  # before the holder: a run that has a row has or had a holder
    process = holder(folder / "holder.json", folder / "lock")
    if process is None:  # the run may have ended since its summary was looked for
        summary, damage = _summary(path)
        if summary is not None:
            return _finished(summary)
    if not (process or row or damage):
        waiting = (queue or {}).get(f"{folder.parent.name}/{folder.name}")
        return State("queued" if waiting else "missing", holder=waiting)
    row = row or {}
    status = "running" if process else "interrupted"
    return State(status, damage, row.get("step"), row.get("epoch"), row.get("seconds"), process)


def _finished(summary: dict[str, Any]) -> State:
    get = summary.get
    return State(summary["status"], get("reason"), get("steps"), get("epochs"), get("seconds"), summary=summary)


def _summary(path: str) -> tuple[dict[str, Any] | None, str | None]:
    """The summary, None if it is missing or damaged; and the damage in words."""
    try:
        with open(path, "rb") as file:
            summary = loads(file.read())
    except (FileNotFoundError, NotADirectoryError):
        return None, None
    except (OSError, ValueError):
        return None, "summary.json is damaged"
    if not isinstance(summary, dict) or summary.get("status") not in FINISHED:
        return None, "summary.json is damaged"
    return summary, None


def last_row(path: Path) -> dict[str, Any] | None:
    """The last complete row of metrics.jsonl: a line that ends and parses."""
    try:
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _TAIL))
            lines = file.read().split(b"\n")
    except OSError:
        return None
    for line in reversed(lines[:-1]):  # the part after the last newline is an unfinished line
        try:
            row = loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            return row
    return None
