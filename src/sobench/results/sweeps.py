"""The list of sweeps at work under a folder of runs, each with the runs it covers. No pandas, no torch.

runs/.sweeps/<id>.json    {"pid", "host", "since", "runs": [[id, slug], ...], "names": {id: name}}
                          its modification time is the heartbeat
runs/.sweeps/<id>.lock    locked as long as the sweep lives
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from sobench.config.run import names_of
from sobench.errors import Failure
from sobench.system import heartbeat, stopping
from sobench.system.files import discard, parse_json, write_atomically
from sobench.system.heartbeat import Holder, beating, holder, who

if TYPE_CHECKING:
    from sobench.config.run import Run

FOLDER = ".sweeps"
_NAME = re.compile(r"\.?(\w+)\.(?:json|lock|stop)(?:\.\d+)?")
"""The files of a sweep, and the temporary ones; see `write_atomically`."""


class Sweep:
    """A context in which the runs are listed as those of a living sweep; see `queue`.

    runs: those that the sweep has to make. Raises Failure if `root` cannot be written to.
    """

    def __init__(self, root: Path | str, runs: Sequence[Run]):
        self.path = Path(root) / FOLDER / f"{uuid.uuid4().hex[:12]}.json"
        self._contents = {"runs": [[run.id, run.slug] for run in runs], "names": names_of(runs)}
        self._context = self._listed()

    def __enter__(self) -> Sweep:
        self._context.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._context.__exit__(None, None, None)

    @contextmanager
    def _listed(self) -> Iterator[None]:
        from filelock import FileLock

        lock = FileLock(_lock(self.path))
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except OSError as error:
            raise self._failure(error) from error
        try:
            try:
                write_atomically(self.path, json.dumps({**who(), **self._contents}).encode())
            except OSError as error:
                raise self._failure(error) from error
            with beating(self.path):
                yield
        finally:
            discard(self.path)  # if it stays, it is the file of a dead sweep: nobody has its lock
            lock.release()
            discard(_lock(self.path))

    def _failure(self, error: OSError) -> Failure:
        return Failure(f"runs: cannot write {error.filename or self.path}: {error.strerror or error}")


def name_of(run: Run) -> str:
    """The name of a run: in a sweep, with the settings in which the runs of the sweep differ."""
    return names(stopping.sweep_file()).get(run.id, run.name) if stopping.in_sweep() else run.name


@lru_cache(maxsize=1)
def names(file: Path) -> dict[str, str]:
    """The names of the runs of a sweep at work, by their ids; {} if its file cannot be read."""
    try:
        return parse_json(file.read_bytes())["names"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}


@dataclass(frozen=True)
class Live:
    """A sweep at work: its file, its process, and the directories of its runs relative to the root."""

    path: Path
    holder: Holder
    slugs: tuple[str, ...]


def live(root: Path) -> list[Live]:
    """The sweeps at work under `root`. Files of another kind are ignored."""
    sweeps = (_read(path) for path in files(root))
    return [sweep for sweep in sweeps if sweep is not None]


def dead(root: Path) -> list[Path]:
    """The files of sweeps whose process died, in whatever moment: those that it was writing too."""
    by_sweep: dict[Path, list[Path]] = {}
    for file in sorted((Path(root) / FOLDER).glob("*")):
        if named := _NAME.fullmatch(file.name):
            by_sweep.setdefault(file.with_name(f"{named[1]}.json"), []).append(file)
    return [file for path, its in by_sweep.items() if _is_dead(path, its) for file in its]


def _is_dead(path: Path, its: Sequence[Path]) -> bool:
    """Whether the sweep of this file, with all these files, has no process. Without the file it may only begin."""
    if holder(path, _lock(path)) is not None:
        return False
    if path.exists():
        return True
    with suppress(OSError):  # the sweep has ended meanwhile
        newest = max(file.stat().st_mtime for file in its)
        return heartbeat.file_system_time(path.parent) - newest > heartbeat.STALE
    return False


def files(root: Path) -> list[Path]:
    return sorted((Path(root) / FOLDER).glob("*.json"))


def queue(root: Path) -> dict[str, Holder]:
    """The run directories, relative to `root`, that the sweeps at work cover, each with the process of its sweep."""
    return {slug: sweep.holder for sweep in live(root) for slug in sweep.slugs}


def _read(path: Path) -> Live | None:
    process = holder(path, _lock(path))
    if process is None:
        return None
    try:
        return Live(path, process, tuple(str(slug) for _, slug in parse_json(path.read_bytes())["runs"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _lock(path: Path) -> Path:
    return path.with_suffix(".lock")
