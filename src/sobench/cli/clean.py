"""`sobench gc`: list the leftovers of interrupted runs and sweeps; --yes deletes them.

The result of a run is never deleted, damaged or not, and nothing that belongs to a running run or sweep.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sobench.cli.arguments import check_overrides, selection
from sobench.config import jobs
from sobench.errors import Failure, UsageError
from sobench.results.old import OLD
from sobench.system.text import parse_duration, table

CELL = re.compile(r".+_[0-9a-f]{12}")
"""The name of a cell's directory. Folders of other names are not touched."""

LOGGERS = ("tensorboard", "wandb")
"""The folders of loggers in a run directory."""

OLDER = "30d"
"""Default of --older-than."""


@dataclass(frozen=True)
class Leftover:
    """A file or folder that can be deleted, the reason, and its run directory (None: it is in none)."""

    path: Path
    reason: str
    run: Path | None = None

    @property
    def bytes(self) -> int:
        """The size of the file, or of all files in the folder."""
        if not self.path.is_dir():
            return self.path.lstat().st_size if self.path.exists() else 0
        return sum(Path(folder, name).lstat().st_size for folder, _, names in os.walk(self.path) for name in names)


def gc(args: argparse.Namespace) -> int:
    """List the leftovers with their sizes; delete them if --yes is given."""
    minimum_age = parse_duration("--older-than", args.older_than)
    others = [override for override in check_overrides(args.overrides) if not override.startswith("runs=")]
    if others:
        raise UsageError(f"gc: got {others[0]!r}, allowed: runs=DIR")
    sized = [(leftover, leftover.bytes) for leftover in leftovers(selection(args.overrides).folder, minimum_age)]
    if sized:
        rows = [(_size(size), leftover.reason, str(leftover.path)) for leftover, size in sized]
        print(*table(rows, align="rl"), sep="\n")
    total = f"{len(sized)} found, {_size(sum(size for _, size in sized))}"
    if not sized or not args.yes:
        print(f"{total}; nothing deleted" + (": add --yes to delete" if sized else ""))
        return 0
    not_ours = [leftover for leftover, _ in sized if foreign(leftover.path)]
    for leftover in not_ours:
        print(f"{leftover.path}: not deleted, {foreign(leftover.path)} is not of sobench")
    ours = [leftover for leftover, _ in sized if leftover not in not_ours]
    deleted = sum(_delete(leftover) for leftover in ours)
    in_use = len(ours) - deleted
    print(f"{total}; {deleted} deleted" + (f", {in_use} not deleted: now in use" if in_use else ""))
    return 0


def foreign(path: Path) -> str | None:
    """What in a file or folder is not a run's own, so that it stays: a link, or a file that sobench does not write.

    The folders of loggers are of the run as a whole.
    """
    from sobench.results.rundir import WRITTEN, parts

    if path.is_symlink():
        return f"the link {path.name}"
    if not path.is_dir():
        return None
    known = {path / name for name in (*WRITTEN, *LOGGERS)} | {*parts(path)}
    inside = [one for one in sorted(path.iterdir()) if one not in known or one.is_symlink()]
    return inside[0].name if inside else None


def leftovers(root: Path, minimum_age: float) -> Iterator[Leftover]:
    """Everything under `root` that can be deleted. minimum_age: seconds, of what `sobench retry` left."""
    from sobench.results import sweeps
    from sobench.results.status import run_directories

    for directory in map(Path, run_directories(root)):
        if CELL.fullmatch(directory.parent.name):
            yield from _of_run(directory)
    for cell in sorted(root.glob("*")):
        if CELL.fullmatch(cell.name) and cell.is_dir() and not any(cell.iterdir()):
            yield Leftover(cell, "empty folder")
    for path in sweeps.dead(root):
        yield Leftover(path, "file of an interrupted sweep")
    for path in (*root.glob(f"{OLD}/*/seed-*/*"), *root.glob(f"{jobs.FOLDER}/retry-*.json")):
        if time.time() - path.lstat().st_ctime > minimum_age:
            yield Leftover(path, "old files kept by retry" if path.is_dir() else "file of an interrupted retry")


def _of_run(directory: Path, locked: bool = False) -> Iterator[Leftover]:
    """The leftovers in one run directory; none in that of a running run. locked: this process holds the lock itself."""
    from sobench.results.rundir import parts
    from sobench.results.stale import settings_of
    from sobench.results.state import DAMAGED, KEEPS, state
    from sobench.system.heartbeat import holder

    if not locked and holder(directory / "holder.json", directory / "lock"):
        return
    current = state(directory)
    checkpoints = sorted(directory.glob("checkpoint*.pt"))
    if not (current.finished or current.status == DAMAGED or checkpoints or settings_of(directory)):
        yield Leftover(directory, "no run: run.json is missing", directory)
        return
    for path in (*parts(directory), directory / "holder.json"):
        if path.exists():
            yield Leftover(path, "file of a killed process", directory)
    if current.status in KEEPS:
        for path in checkpoints:
            yield Leftover(path, f"checkpoint of a {current.status} run", directory)


def _delete(leftover: Leftover) -> bool:
    """Delete it, unless it has come into use since it was listed. Returns whether it was deleted. Raises Failure."""
    from filelock import FileLock, Timeout

    try:
        if leftover.run is None:
            _remove(leftover.path)
            return True
        with FileLock(leftover.run / "lock", timeout=0.2):
            unused = leftover in [*_of_run(leftover.run, locked=True)]
            if unused:
                _remove(leftover.path)
            return unused
    except Timeout:
        return False
    except OSError as error:
        raise Failure(f"gc: cannot delete {error.filename or leftover.path}: {error.strerror or error}") from error


def _remove(path: Path) -> None:
    """Delete the file or folder, and the folders under runs/.old that become empty by it."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
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
