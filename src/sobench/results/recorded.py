"""The runs of which there is a directory, as their own records name them. No pandas, no torch.

The YAML of many cells takes a second to read, so what it says is kept in runs/.cache/recorded: a checksum, and JSON.

    runs      for each run directory: size, times and inode of its two files, the cell, the seed
    settings  for each cell: the run directory that its settings are from, the settings

What was read from a file that has changed since is not used. A cache that is damaged, foreign, or of another version of
this code is ignored and rewritten.
"""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from pathlib import Path
from typing import Any

from sobench.config.run import Run
from sobench.errors import UsageError
from sobench.results.parse import loads
from sobench.results.status import run_directories
from sobench.system.files import settled, stamp, write_atomically

RUN, CONFIG = "run.json", "config.yaml"
CODE = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
"""The version of the file."""


def runs_under(root: Path) -> list[Run]:
    """Every run that was begun under `root`, by cell and seed. Directories whose record cannot be read are left out.

    The settings that identify no run, such as `threads`, are those of the first seed of a cell.
    """
    kept = _Kept(root)
    first: dict[str, Run] = {}
    runs = (_run(directory, first, kept) for directory in run_directories(root))
    found = [run for run in runs if run is not None]
    kept.save()
    return found


def _run(directory: str, first: dict[str, Run], kept: _Kept) -> Run | None:
    """The run of a directory; None without a readable record, and for a record of another run.

    first: the first run of each cell. Its settings are those of the others, whose YAML need not be read.
    """
    import yaml

    name = "/".join(directory.rsplit(os.sep, 2)[-2:])
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
        self._path = root / ".cache" / "recorded"
        self._old_runs, self._old_settings = self._read()
        self._runs: dict[str, list[Any]] = {}
        self._settings: dict[str, list[Any]] = {}

    def names(self, name: str) -> tuple[str, int]:
        """The cell and the seed of a run directory, <cell>/<seed>. Raises OSError, ValueError, KeyError, TypeError."""
        stamps = [stamp(f"{self._root}/{name}/{file}") for file in (RUN, CONFIG)]
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
        import yaml

        contents = (self._root / name / CONFIG).read_bytes()
        settings = yaml.load(contents, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        if _survives_json(settings):
            self._settings[cell] = [name, settings]
        return settings

    def save(self) -> None:
        """Replace the file, if something was read and the folder can be written."""
        runs = {name: one for name, one in self._runs.items() if settled(one[0])}
        settings = {cell: one for cell, one in self._settings.items() if one[0] in runs}
        if runs == self._old_runs and settings == self._old_settings:
            return
        text = json.dumps({"code": CODE, "runs": runs, "settings": settings}).encode()
        try:
            os.makedirs(self._path.parent, exist_ok=True)
            write_atomically(self._path, b"%08x\n%b" % (zlib.crc32(text), text), sync=False)
        except OSError:
            return

    def _read(self) -> tuple[dict[str, list[Any]], dict[str, list[Any]]]:
        try:
            checksum, _, text = self._path.read_bytes().partition(b"\n")
            whole = loads(text) if int(checksum, 16) == zlib.crc32(text) else {}
            return (whole["runs"], whole["settings"]) if whole.get("code") == CODE else ({}, {})
        except Exception:  # a foreign file may raise anything
            return {}, {}


def _survives_json(settings: dict[str, Any]) -> bool:
    """Whether JSON gives the same settings back; it has no dates and no keys that are numbers."""
    try:
        return json.loads(json.dumps(settings)) == settings
    except (TypeError, ValueError):
        return False
