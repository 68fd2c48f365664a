"""The state of one run, read from its directory alone. No pandas, no torch, so that `sobench status` is fast."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sobench.results import digests
from sobench.results.parse import loads
from sobench.system.heartbeat import Holder, holder

FINISHED = ("done", "diverged", "out-of-memory", "timed-out", "failed", "skipped")
"""The states that a run writes to its summary.json when it is over."""
KEEPS = ("done", "diverged")
"""The states of a result: a repeated command skips the run. A run of any other state is tried again."""
DAMAGED = "damaged"
"""The state of a finished run whose files are not what they were at its end. It has no result."""
SHARED, CONTENDED = "shared", "contended"
"""Instead of the status of a run, where its time is asked for: another process computed on its GPU, or other work on
the machine slowed it down (see sobench.system.contention)."""
QUIET = "quiet"
"""The timing of a run that no other work slowed down."""
STATUSES = (*FINISHED, DAMAGED, "running", "queued", "interrupted", "missing")

_TAIL = 1 << 16  # bytes: many lines of metrics.jsonl, of which the last complete one is read


@dataclass(frozen=True)
class State:
    """The state of a run, with the last recorded step, epoch and seconds, and the process that makes it (holder).

    damaged: the files of a damaged run that are not what they were. censored: the run ended before it converged, and
    its status is a lower bound of the length that a report asks for.
    """

    status: str
    reason: str | None = None
    step: int | None = None
    epoch: float | None = None
    seconds: float | None = None
    holder: Holder | None = None
    summary: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)
    damaged: tuple[str, ...] = ()
    censored: bool = False

    @property
    def finished(self) -> bool:
        return self.status in FINISHED

    @property
    def total_seconds(self) -> float:
        """The recorded time of the run, with that of the warm start."""
        return (self.seconds or 0.0) + (self.summary.get("warm_start_seconds") or 0.0)

    @property
    def spent_seconds(self) -> float:
        """What making the run takes but for its evaluations: the recorded time, warm start and compilation included."""
        return self.total_seconds + (self.summary.get("compile_seconds") or 0.0)

    @property
    def disturbed(self) -> str | None:
        """The reason why the times of the run do not count, SHARED or CONTENDED; None for a run without a judgement,
        made before there was any."""
        if self.summary.get("shared"):
            return SHARED
        timing = self.summary.get("timing")
        return CONTENDED if isinstance(timing, dict) and timing.get("quality") == CONTENDED else None


def state(
    directory: Path | str, queue: Mapping[str, Holder] | None = None, files: digests.Contents | None = None
) -> State:
    """The state of the run in `directory`.

    queue: the processes of the runs that have not begun, see sweeps.queue. files: as of `result`. Damaged files raise
    nothing.
    """
    ended = result(directory, files=files)
    if ended and ended.finished:
        return ended
    folder = Path(directory)
    row = last_row(folder / "metrics.jsonl")  # before the holder: a run that has a row has or had a holder
    process = holder(folder / "holder.json", folder / "lock")
    if process is None:  # the run may have ended since its summary was looked for
        ended = result(directory)
        if ended:
            return ended
    if not (process or row):
        waiting = (queue or {}).get(f"{folder.parent.name}/{folder.name}")
        return State("queued" if waiting else "missing", holder=waiting)
    row = row or {}
    status = "running" if process else "interrupted"
    return State(status, None, row.get("step"), row.get("epoch"), row.get("seconds"), process)


def result(directory: Path | str, anew: bool = False, files: digests.Contents | None = None) -> State | None:
    """The state that a run had at its end, or DAMAGED; None for a run that is not over.

    anew: see `digests.damage`. files: the contents of the directory, for a caller that reads them too.
    """
    files = digests.Contents(os.fspath(directory)) if files is None else files
    text = files[digests.SUMMARY]
    if text is None:
        return None if digests.SUMMARY in files.missing else _unreadable()
    try:
        summary = loads(text)
    except ValueError:
        return _unreadable()
    if not isinstance(summary, dict) or summary.get("status") not in FINISHED:
        return _unreadable()
    damage = digests.damage(files, summary, anew)
    if damage:
        return State(DAMAGED, ", ".join(damage.values()), damaged=tuple(damage))
    get = summary.get
    return State(summary["status"], get("reason"), get("steps"), get("epochs"), get("seconds"), summary=summary)


def _unreadable() -> State:
    return State(DAMAGED, "summary.json is damaged", damaged=("summary.json",))


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
