"""The files behind `sobench.slots`: one a slot, locked by its holder, and beside it a line that says who that is.

A lock is the kernel's: it is free at once when its holder is killed, whatever the line beside it still says. No torch.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from sobench.errors import Failure
from sobench.results.heartbeat import locked

class Slot:
    """One slot, <folder>/<name>: `take` it, `give_back`."""

    def __init__(self, path: Path):
        self.note = path.with_name(f"{path.name}.json")
        self._path, self._lock = path, FileLock(path)

    def take(self, about: Mapping[str, Any]) -> bool:
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            return False
        self.note.write_text(json.dumps(about) + "\n")
        return True

    def give_back(self) -> None:
        self.note.unlink(missing_ok=True)
        self._lock.release()

    def holder(self) -> dict[str, Any] | None:
        """What its holder says of itself ({}: nothing that can be read); None if it is free."""
        if not locked(self._path):
            return None
        try:
            found = json.loads(self.note.read_text())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}


def holders(folder: Path, patterns: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Those slots that are held, of the files that fit any of the patterns, by name: what their holders say."""
    slots = {path.name: Slot(path).holder() for pattern in patterns for path in sorted(folder.glob(pattern))}
    return {name: about for name, about in slots.items() if about is not None}


def described(held: Mapping[str, Mapping[str, Any]]) -> str:
    """ "process 71 on here has cpu-0, cpu-1 (digits_mlp_sgd_0a1b/seed-0, since 2026-01-31T10:00:00+0000)" """
    names: dict[str, list[str]] = {}
    for name, about in held.items():
        says = f"process {about['pid']} on {about['host']}" if {"pid", "host"} <= about.keys() else "another process"
        run = f" ({about['run']}, since {about['since']})" if {"run", "since"} <= about.keys() else ""
        names.setdefault(f"{says} has {{}}{run}", []).append(name)
    return "; ".join(text.format(", ".join(of)) for text, of in names.items())


def folder_at(setting: str | None) -> Path:
    """The folder of the slots, made if it is not there: the setting's, or this user's own among the temporary files. Raises
    Failure if it cannot be used."""
    folder = Path(setting or Path(tempfile.gettempdir()) / f"sobench-slots-{os.getuid()}")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if setting is None and folder.stat().st_uid != os.getuid():
            raise Failure(f"slots: {folder} belongs to another user; set slots (SOBENCH_SLOTS) to a folder of yours")
    except OSError as error:
        raise Failure(f"slots: cannot write {folder}: {error.strerror or error}") from error
    return folder
