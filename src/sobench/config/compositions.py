"""Stored compositions: the settings of a sweep's cells on disk, so that a second command need not compose them again.

Hydra and the checks take some 100 ms for one composition, and a sweep needs one for each of its cells. One file holds
the settings of one sweep's cells, by their overrides. The file's name is a digest of everything that the settings are
made from: the overrides without the seeds, every file of conf/, the code that composes and checks, the installed
plug-ins and extras, the environment variables that the configuration refers to. A change of any of these is another
file name, so that a stored composition is never out of date. A damaged file is not used.

Nothing is stored where the digest cannot cover everything: a resolver other than RESOLVERS, a search path of the user's
own, the constructor of a plug-in as an optimizer's configuration.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sobench.config import extras, hydra_private, registry
from sobench.config import files as conf_files
from sobench.system.files import PACKAGE

if TYPE_CHECKING:
    from hydra.core.config_loader import ConfigLoader

WORTH = 20
"""New compositions from which on a file is written: fewer are composed quickly enough."""
FILES = 30
"""The number of files that are kept, the newest ones."""
RESOLVERS = ("oc.env", "oc.select")
"""The resolvers that a stored configuration may use: the variables that `oc.env` names are part of the digest."""

CODE = (PACKAGE / "config", PACKAGE.parent / "hydra_plugins" / "sobench")
"""The folders of the code that composes and checks: all of this package, and its plug-ins for Hydra."""

Overrides = tuple[str, ...]


class Compositions:
    """The stored settings of one sweep's cells.

    overrides: those of the sweep. loader: Hydra's configuration loader, which knows the search path.
    """

    def __init__(self, overrides: Sequence[str], loader: ConfigLoader):
        digest = _digest(overrides, loader)
        self._path = _folder() / f"{digest}.json" if digest else None
        self._stored = _read(self._path) if self._path else {}
        self._new: dict[Overrides, dict[str, Any]] = {}

    def get(self, cell: Overrides) -> dict[str, Any] | None:
        """The stored settings of a cell; None if there are none."""
        return self._stored.get(cell)

    def add(self, cell: Overrides, settings: dict[str, Any]) -> None:
        """Note the settings of a cell for `save`; as a copy, since the caller changes them later."""
        if _is_made_from_files(settings):
            self._new[cell] = json.loads(json.dumps(settings))

    def save(self) -> None:
        """Write the new settings, if there are enough. A folder that cannot be written is no error."""
        if self._path is None or len(self._new) < WORTH:
            return
        from sobench.system.files import write_atomically

        body = json.dumps(list((self._stored | self._new).items())).encode()
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self._path, hashlib.sha256(body).hexdigest().encode() + b"\n" + body)
            by_age = sorted(self._path.parent.glob("*.json"), key=lambda path: path.stat().st_mtime)
            for old in by_age[:-FILES]:
                old.unlink(missing_ok=True)
        except OSError:
            pass


def _folder() -> Path:
    return Path(os.environ.get("SOBENCH_CACHE") or "~/.cache/sobench").expanduser() / "compositions"


def _read(path: Path) -> dict[Overrides, dict[str, Any]]:
    """The settings in a file, by cell; none where it is missing or damaged."""
    try:
        checksum, _, body = path.read_bytes().partition(b"\n")
        if hashlib.sha256(body).hexdigest().encode() != checksum:
            return {}
        return {tuple(cell): settings for cell, settings in json.loads(body)}
    except (OSError, ValueError, TypeError):
        return {}


def _is_made_from_files(settings: dict[str, Any]) -> bool:
    """Whether every optimizer's configuration is a file of conf/, and none is a constructor's signature."""
    companions = settings["instrument"].get("companions") or {}
    folder = conf_files.conf_dir() / "optimizer"
    names = [optimizer["name"] for optimizer in (settings["optimizer"], *companions.values())]
    return all((folder / f"{name}.yaml").is_file() for name in names)


def _digest(overrides: Sequence[str], loader: ConfigLoader) -> str | None:
    """A digest of everything that the compositions depend on; None where that is not known."""
    conf = conf_files.conf_dir()
    folders = {place for place in hydra_private.search_path(loader) if "://" not in place}
    if folders - {str(conf)} or any("searchpath" in override for override in overrides):
        return None
    files = {str(path): path.read_text() for path in _files_below(conf, ".yaml")}
    variables = _variables([*overrides, *files.values()])
    if variables is None:
        return None
    parts = [
        [override for override in overrides if _shapes_a_cell(override)],
        files,
        [(path.name, path.read_text()) for folder in CODE for path in _files_below(folder, ".py")],
        _plugins(),
        extras.installed("logger"),
        [(name, os.environ.get(name)) for name in sorted(variables)],
        sys.version,
        version("hydra-core"),
        version("omegaconf"),
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def _shapes_a_cell(override: str) -> bool:
    """Whether a cell's settings depend on this override: seeds and Hydra's own choose which cells there are."""
    key = override.partition("=")[0]
    return key != "seed" and "hydra" not in key


def _variables(texts: Sequence[str]) -> set[str] | None:
    """The environment variables that interpolations in these texts name; None where one is not understood."""
    calls = [call for text in texts for call in re.findall(r"\$\{\s*([\w.]+)\s*:\s*([^},]*)", text)]
    variables = {argument.strip() for resolver, argument in calls if resolver == "oc.env"}
    known = all(resolver in RESOLVERS for resolver, _ in calls) and all(map(str.isidentifier, variables))
    return variables if known else None


def _plugins() -> list[tuple[str, str, str, str]]:
    """Kind, name, object and package of every entry point."""
    kinds = [(kind, registry.entries(kind)) for kind in registry.KINDS.values()]
    return [
        (kind, entry.name, entry.value, registry.origin(entry)) for kind, entries in kinds for entry in entries.values()
    ]


def _files_below(folder: Path, suffix: str) -> list[Path]:
    """The files with this suffix at any depth, through symbolic links as well, sorted."""
    below = os.walk(folder, followlinks=True)
    return sorted(Path(place, name) for place, _, names in below for name in names if name.endswith(suffix))
