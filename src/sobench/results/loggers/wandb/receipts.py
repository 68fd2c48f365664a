"""Receipts: what wandb has of each run, as files in runs/.wandb/receipts. Imports no wandb.

The process of a run writes an open receipt when it hands the run to its mirror process. The mirror process replaces it
by the number of rows that wandb has when the copy has ended. So a sweep can wait for the copies of its runs, whichever
processes of whichever launcher made them, and knows afterwards which are incomplete.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path
from typing import Any

from sobench.system.files import parse_json, write_atomically
from sobench.system.heartbeat import holder, who

FOLDER = "receipts"

POLL = 0.1
"""Seconds between two looks at the receipts."""


def issue(folder: Path, run_id: str, lock: Path) -> None:
    """Write the open receipt of a run. folder: wandb's. lock: held by the mirror process as long as it lives."""
    _write(folder, run_id, {**who(), "lock": str(lock)})


def settle(folder: Path, run_id: str, rows: int) -> None:
    """Write the number of rows that wandb has at the end of a copy; 0 if the copy failed."""
    _write(folder, run_id, {"rows": rows})


def rows(folder: Path, run_id: str) -> int:
    """The number of rows that wandb has by the receipt; 0 without a settled receipt."""
    return _read(_path(folder, run_id)).get("rows", 0)


def wait(folder: Path, run_ids: Collection[str], limit: float, stopped: Callable[[], bool]) -> None:
    """Wait until no living mirror process has any of the runs still to copy.

    Ends early when `stopped()`, and when no receipt was settled for `limit` seconds.
    """
    left, progress = set(run_ids), time.monotonic()
    while not stopped() and time.monotonic() - progress < limit:
        still = {run_id for run_id in left if _is_open(_path(folder, run_id))}
        if not still:
            return
        if still != left:
            left, progress = still, time.monotonic()
        time.sleep(POLL)


def _is_open(path: Path) -> bool:
    """Whether a mirror process that lives has the run still to copy."""
    lock = _read(path).get("lock")
    return lock is not None and holder(path, Path(lock)) is not None


def _path(folder: Path, run_id: str) -> Path:
    return folder / FOLDER / f"{run_id}.json"


def _write(folder: Path, run_id: str, contents: dict[str, Any]) -> None:
    path = _path(folder, run_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(contents).encode(), sync=False)


def _read(path: Path) -> dict[str, Any]:
    """The contents of a receipt; empty if there is none, or if it is damaged."""
    with suppress(OSError, ValueError):
        contents = parse_json(path.read_bytes())
        if isinstance(contents, dict):
            return contents
    return {}
