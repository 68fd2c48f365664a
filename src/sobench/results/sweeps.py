"""The sweeps at work under a folder of runs: each says in a file of runs/.sweeps/ which runs it is about. No pandas, no torch.

runs/.sweeps/<id>.json    {"pid", "host", "since", "runs": [[id, slug], ...]}; its time stamp is the heartbeat
runs/.sweeps/<id>.lock    held as long as the sweep lives
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sobench.system.heartbeat import Holder, beating, holder, who

if TYPE_CHECKING:
    from sobench.config.run import Run

FOLDER = ".sweeps"


class Sweep:
    """A context in which the runs, those that a sweep has to make, are known to be asked for. Raises Failure if `root` cannot
    be written to."""

    def __init__(self, root: Path | str, runs: Sequence[Run]):
        self.path = Path(root) / FOLDER / f"{uuid.uuid4().hex[:12]}.json"
        self._runs = [[run.id, run.slug] for run in runs]
        self._stack = ExitStack()

    def __enter__(self) -> Sweep:
        from filelock import FileLock

        from sobench.errors import Failure
        from sobench.system.files import write_atomically

        lock = _lock(self.path)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self._stack:  # what was entered is left again if the rest fails
                self._stack.callback(lock.unlink, missing_ok=True)
                self._stack.enter_context(FileLock(lock))
                self._stack.callback(self.path.unlink, missing_ok=True)
                write_atomically(self.path, json.dumps({**who(), "runs": self._runs}).encode())
                self._stack.enter_context(beating(self.path))
                self._stack = self._stack.pop_all()
        except OSError as error:
            raise Failure(f"runs: cannot write {error.filename or self.path}: {error.strerror or error}") from error
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()


@dataclass(frozen=True)
class Live:
    """A sweep at work: who makes it, and the run directories, relative to the root, that it is about."""

    path: Path
    holder: Holder
    slugs: tuple[str, ...]


def live(root: Path) -> list[Live]:
    """The sweeps that are at work under `root`. A file that is no sweep's is passed over."""
    return [found for path in files(root) if (found := _read(path))]


def dead(root: Path) -> list[Path]:
    """The files of sweeps that were cut off."""
    over = [path for path in files(root) if holder(path, _lock(path)) is None]
    return [file for path in over for file in (path, _lock(path)) if file.exists()]


def files(root: Path) -> list[Path]:
    return sorted((Path(root) / FOLDER).glob("*.json"))


def queue(root: Path) -> dict[str, Holder]:
    """The run directories, relative to `root`, that sweeps at work are about; and who makes the sweep."""
    return {slug: sweep.holder for sweep in live(root) for slug in sweep.slugs}


def _read(path: Path) -> Live | None:
    found = holder(path, _lock(path))
    if found is None:
        return None
    try:
        return Live(path, found, tuple(str(slug) for _, slug in json.loads(path.read_bytes())["runs"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _lock(path: Path) -> Path:
    return path.with_suffix(".lock")
