"""The runs of which there is a directory, as their own records name them. No pandas, no torch.

The YAML of many cells takes a second to read, so what it says is kept in runs/.cache/recorded:

    runs      for each run directory: size, times and inode of its two files, the cell, the seed
    settings  for each cell: the run directory that its settings are from, the settings

What was read from a file that has changed since is not used.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sobench.config.run import Run
from sobench.errors import UsageError
from sobench.results import digests, keep
from sobench.results.parse import loads
from sobench.results.status import run_directories
from sobench.system.beside import each
from sobench.system.files import settled, stamp
from sobench.system.interpreter import paused_gc

RUN, CONFIG = "run.json", "config.yaml"
CODE = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
"""The version of the file."""
MANY = 100
"""Cells whose settings are read on all cores."""


@paused_gc()
def runs_under(root: Path) -> list[Run]:
    """Every run that was begun under `root`, by cell and seed. Directories whose record cannot be read are left out.

    The settings that identify no run, such as `threads`, are those of the first seed of a cell.
    """
    kept = _Kept(root)
    names = ["/".join(directory.rsplit(os.sep, 2)[-2:]) for directory in run_directories(root)]
    kept.read_ahead(names)
    first: dict[str, Run] = {}
    runs = (_run(name, first, kept) for name in names)
    found = [run for run in runs if run is not None]
    kept.save()
    return found


def _run(name: str, first: dict[str, Run], kept: _Kept) -> Run | None:
    """The run of a directory, <cell>/<seed>; None without a readable record, and for a record of another run.

    first: the first run of each cell. Its settings are those of the others, whose YAML need not be read.
    """
    import yaml

    try:
        cell, seed = kept.names(name)
        run = first[cell].seeded(seed, ()) if cell in first else Run(kept.settings(name, cell), cell, seed)
        if run.slug != name:
            return None
        first.setdefault(cell, run)
        return run
    except (OSError, ValueError, KeyError, TypeError, UsageError, yaml.YAMLError):
        return None


class _Kept:
    """What the files of the runs say: kept from an earlier command, or read."""

    def __init__(self, root: Path):
        self._root = root
        self._path = root / digests.CACHE / "recorded"
        old: list[dict[str, list[Any]]] = keep.load(self._path, CODE) or [{}, {}]
        self._old_runs, self._old_settings = old
        self._runs: dict[str, list[Any]] = {}
        self._settings: dict[str, list[Any]] = {}
        self._ahead: dict[str, tuple[list[list[int]], Any]] = {}

    def read_ahead(self, names: Iterable[str]) -> None:
        """Read the settings of the first run directory of each cell that is not kept, on all cores if there are many:
        YAML takes longer than all else.
        """
        known = {name for name, _ in self._old_settings.values()}
        first: dict[str, str] = {}
        for name in names:
            first.setdefault(name.partition("/")[0], name)
        new = [name for name in first.values() if name not in known]
        if len(new) >= MANY:
            self._ahead = dict(zip(new, each(self._contents, new), strict=True))

    def _contents(self, name: str) -> tuple[list[list[int]], Any]:
        """The stamps of a run directory, and its settings after them; None if they cannot be read."""
        import yaml

        stamps = self._stamps(name)
        try:
            return stamps, _parsed(self._root / name / CONFIG)
        except (OSError, ValueError, yaml.YAMLError):
            return stamps, None

    def _stamps(self, name: str) -> list[list[int]]:
        return [stamp(f"{self._root}/{name}/{file}") for file in (RUN, CONFIG)]

    def names(self, name: str) -> tuple[str, int]:
        """The cell and the seed of a run directory, <cell>/<seed>. Raises OSError, ValueError, KeyError, TypeError."""
        stamps = self._stamps(name)
        old = self._old_runs.get(name)
        if old and old[0] == stamps:
            self._runs[name] = old
        else:
            record = loads((self._root / name / RUN).read_bytes())
            self._runs[name] = [stamps, record["cell"], record["seed"]]
        return self._runs[name][1], self._runs[name][2]

    def settings(self, name: str, cell: str) -> dict[str, Any]:
        """The settings of a run directory, whose `names` were asked for before. Raises OSError, YAMLError."""
        old = self._old_settings.get(cell)
        if old and old[0] == name and self._runs[name] is self._old_runs[name]:
            self._settings[cell] = old
            return old[1]
        stamps, settings = self._ahead.pop(name, (None, None))
        if settings is None or stamps != self._runs[name][0]:
            settings = _parsed(self._root / name / CONFIG)
        if _survives_json(settings):
            self._settings[cell] = [name, settings]
        return settings

    def save(self) -> None:
        """Replace the file, if something was read and the folder can be written."""
        runs = {name: one for name, one in self._runs.items() if settled(one[0])}
        settings = {cell: one for cell, one in self._settings.items() if one[0] in runs}
        if runs == self._old_runs and settings == self._old_settings:
            return
        keep.save(self._path, CODE, [runs, settings])


def _parsed(path: Path) -> Any:
    """The value of a YAML file. Raises OSError, YAMLError."""
    import yaml

    return yaml.load(path.read_bytes(), getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def _survives_json(settings: dict[str, Any]) -> bool:
    """Whether JSON gives the same settings back; it has no dates and no keys that are numbers."""
    try:
        return json.loads(json.dumps(settings)) == settings
    except (TypeError, ValueError):
        return False
