"""`sobench gc`: what runs and sweeps that were cut off have left. Lists it; deletes it with --yes. A result is never touched,
nor what is at work."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sobench.cli.arguments import root_of, settings_of
from sobench.cli.retry import OLD
from sobench.config import jobs
from sobench.errors import Failure, UsageError
from sobench.system.text import parse_duration

CELL = re.compile(r".+_[0-9a-f]{12}")
"""The name of a cell's directory; a folder of another name is not ours."""
OLDER = "30d"


@dataclass(frozen=True)
class Litter:
    """A file or a folder that may go, and why; of which run directory it is, if it is of one."""

    path: Path
    why: str
    run: Path | None = None

    @property
    def bytes(self) -> int:
        if not self.path.is_dir():
            return self.path.lstat().st_size if self.path.exists() else 0
        return sum(Path(folder, name).lstat().st_size for folder, _, names in os.walk(self.path) for name in names)


def gc(args: argparse.Namespace) -> int:
    """List what may go, with its size; delete it with --yes."""
    older = parse_duration("--older-than", args.older_than)
    if strange := [word for word in settings_of(args.overrides) if not word.startswith("runs=")]:
        raise UsageError(f"gc: got {strange[0]!r}, allowed: runs=DIR")
    root = root_of(args.overrides)
    found = [(one, one.bytes) for one in litter(root, older)]
    for one, size in found:
        print(f"{_size(size):>9}  {one.why:<34}  {one.path}")
    total = f"{len(found)} found, {_size(sum(size for _, size in found))}"
    if not found or not args.yes:
        print(f"{total}; nothing deleted" + (": add --yes to delete" if found else ""))
        return 0
    gone = sum(_delete(one) for one, _ in found)
    print(f"{total}; {gone} deleted" + (f", {len(found) - gone} in use by now and left" if gone < len(found) else ""))
    return 0


def litter(root: Path, older: float) -> Iterator[Litter]:
    """All that may go under `root`; of what was put aside, that which is older than so many seconds."""
    from sobench.results import sweeps
    from sobench.results.status import run_directories

    for directory in map(Path, run_directories(root)):
        if CELL.fullmatch(directory.parent.name):
            yield from _of_run(directory)
    for cell in sorted(root.glob("*")):
        if CELL.fullmatch(cell.name) and cell.is_dir() and not any(cell.iterdir()):
            yield Litter(cell, "empty")
    for path in sweeps.dead(root):
        yield Litter(path, "of a sweep that was cut off")
    for path in (*root.glob(f"{OLD}/*/seed-*/*"), *root.glob(f"{jobs.FOLDER}/retry-*.json")):
        if time.time() - path.lstat().st_ctime > older:
            yield Litter(path, "put aside long ago" if path.is_dir() else "of a retry that was cut off")


def _of_run(directory: Path, ours: bool = False) -> Iterator[Litter]:
    """What may go of one run directory; nothing of one that someone works on. ours: the lock is held by us, to delete."""
    from sobench.results.rundir import PARTS
    from sobench.results.stale import settings_of
    from sobench.results.state import KEEPS, state
    from sobench.system.heartbeat import holder

    if not ours and holder(directory / "holder.json", directory / "lock"):
        return
    found = state(directory)
    checkpoints = sorted(directory.glob("checkpoint*.pt"))
    if not (found.finished or checkpoints or settings_of(directory)):
        yield Litter(directory, "no run: it has no run.json", directory)
        return
    for path in (*sorted(directory.glob(PARTS)), directory / "holder.json"):
        if path.exists():
            yield Litter(path, "of a process that was killed", directory)
    if found.status in KEEPS:
        for path in checkpoints:
            yield Litter(path, f"checkpoint of a run that is {found.status}", directory)


def _delete(one: Litter) -> bool:
    """Delete it unless it has come to use since; whether it is gone. Raises Failure."""
    from filelock import FileLock, Timeout

    try:
        if one.run is None:
            _remove(one.path)
            return True
        with FileLock(one.run / "lock", timeout=0.2):
            still = one in [*_of_run(one.run, ours=True)]
            if still:
                _remove(one.path)
            return still
    except Timeout:
        return False
    except OSError as error:
        raise Failure(f"gc: cannot delete {error.filename or one.path}: {error.strerror or error}") from error


def _remove(path: Path) -> None:
    """The file or folder, and the folders above it, up to runs/.old, that it leaves empty."""
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    for folder in path.parents if OLD in path.parts else ():
        if folder.name == OLD or any(folder.iterdir()):
            break
        folder.rmdir()


def _size(count: int) -> str:
    """ "512 B", "3.4 MB" """
    size, unit = float(count), "B"
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if size < 1000 or unit == "TB":
            break
        size /= 1000
    return f"{size:.3g} {unit}"
