"""The state of one run, read from its directory alone. No pandas, no torch: `sobench status` answers at once."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sobench.results.parse import loads
from sobench.system.heartbeat import Holder, holder

FINISHED = ("done", "diverged", "out-of-memory", "timed-out", "failed", "skipped")
"""Written by the run itself, in summary.json; the work is over."""
KEEPS = ("done", "diverged")
"""Results that a repeated command leaves alone; any other run is tried again."""
STATUSES = (*FINISHED, "running", "queued", "interrupted", "missing")

_TAIL = 1 << 16  # bytes: holds many metrics lines; only the last whole one is wanted


@dataclass(frozen=True)
class State:
    """Where a run stands. step, epoch (of the training set) and seconds are the last that were recorded; holder: who runs it,
    or will."""

    status: str
    reason: str | None = None
    step: int | None = None
    epoch: float | None = None
    seconds: float | None = None
    holder: Holder | None = None
    summary: dict = field(default_factory=dict, compare=False, repr=False)

    @property
    def finished(self) -> bool:
        return self.status in FINISHED


def state(directory: Path | str, queue: Mapping[str, Holder] | None = None) -> State:
    """State of the run in `directory`; `queue` is who will make what has not begun, by directory as in sweeps.queue. Never
    raises on what it finds there: a damaged summary is a reason."""
    path = os.path.join(directory, "summary.json")
    summary, damage = _summary(path)
    if summary is None:
        directory = Path(directory)
        row = last_row(directory / "metrics.jsonl")  # before its holder: who writes the first row holds the run
        found = holder(directory / "holder.json", directory / "lock")
        if found is None:  # it may have ended, and let go, since we looked
            summary, damage = _summary(path)
    if summary is not None:
        return State(
            summary["status"],
            summary.get("reason"),
            summary.get("steps"),
            summary.get("epochs"),
            summary.get("seconds"),
            summary=summary,
        )
    if not (found or row or damage):
        waiting = (queue or {}).get(f"{directory.parent.name}/{directory.name}")
        return State("queued" if waiting else "missing", holder=waiting)
    row = row or {}
    return State(
        "running" if found else "interrupted", damage, row.get("step"), row.get("epoch"), row.get("seconds"), found
    )


def _summary(path: str) -> tuple[dict | None, str | None]:
    """The summary, or None; and what is wrong with it, if it is there and cannot be used."""
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
            row = loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            return row
    return None
