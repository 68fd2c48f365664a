"""Compositions that were made before: Hydra and the checks take some 100 ms for one, and a sweep has one for each of its cells.

A file holds the settings of one sweep's cells, by their words. Its name is a digest of all that they are made from: the words but
for the seeds, every file of conf/, the source of what reads them, the plug-ins, the environment that is referred to. Whatever of these
changes, the file is not found; a damaged one is not used. What cannot be told in advance (a resolver of another kind, a search
path of the user's own, a plug-in's constructor) is not kept.
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
from typing import Any

from sobench.config import files as conf_files
from sobench.config import registry

WORTH = 20  # compositions: below, Hydra is quick enough
FILES = 30  # the most that are kept
RESOLVERS = ("oc.env", "oc.select")
"""What a configuration may refer to beside itself, and be kept: the environment, by name, is part of the digest."""

CODE = ("compositions", "extras", "files", "identity", "registry", "rules", "secrets", "signature", "validation")
"""The modules of this package that a composition goes through."""

Words = tuple[str, ...]


class Compositions:
    """The settings of a sweep's cells that were kept, and those to keep. `folder`: where; None: none are."""

    def __init__(self, overrides: Sequence[str], loader):
        name = _digest(overrides, loader)
        self._path = name and _folder() / f"{name}.json"
        self._kept = _read(self._path) if self._path else {}
        self._new: dict[Words, dict[str, Any]] = {}

    def get(self, words: Words) -> dict[str, Any] | None:
        return self._kept.get(words)

    def add(self, words: Words, settings: dict[str, Any]) -> None:
        if _from_files(settings):
            self._new[words] = json.loads(json.dumps(settings))  # as it is now, whatever becomes of it

    def keep(self) -> None:
        """Write what is new, if it is worth it. A folder that cannot be written keeps nothing."""
        if self._path is None or len(self._new) < WORTH:
            return
        from sobench.system.files import write_atomically

        body = json.dumps([[words, settings] for words, settings in (self._kept | self._new).items()]).encode()
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


def _read(path: Path) -> dict[Words, dict[str, Any]]:
    try:
        digest, _, body = path.read_bytes().partition(b"\n")
        whole = hashlib.sha256(body).hexdigest().encode() == digest
        return {tuple(words): settings for words, settings in json.loads(body)} if whole else {}
    except (OSError, ValueError, TypeError):
        return {}


def _from_files(settings: dict[str, Any]) -> bool:
    """Whether every optimizer's configuration is a file of conf/, and none was made from a constructor."""
    companions = settings["instrument"].get("companions") or {}
    return all(
        (conf_files.conf_dir() / "optimizer" / f"{chosen['name']}.yaml").is_file()
        for chosen in (settings["optimizer"], *companions.values())
    )


def _digest(overrides: Sequence[str], loader) -> str | None:
    """Of all that the compositions depend on; None where that cannot be told."""
    conf = conf_files.conf_dir()
    places = {element.path.removeprefix("file://") for element in loader.get_search_path().get_path()}
    if {place for place in places if "://" not in place} - {str(conf)} or any(
        "searchpath" in word for word in overrides
    ):
        return None
    files = {str(path): path.read_text() for path in _yaml_files(conf)}
    referred = [
        found for text in (*overrides, *files.values()) for found in re.findall(r"\$\{\s*([\w.]+)\s*:\s*([^},]*)", text)
    ]
    variables = {argument.strip() for resolver, argument in referred if resolver == "oc.env"}
    if not {resolver for resolver, _ in referred} <= set(RESOLVERS) or not all(map(str.isidentifier, variables)):
        return None
    plugins = [
        (kind, entry.name, entry.value, registry.origin(entry))
        for kind in registry.KINDS.values()
        for entry in registry.entries(kind).values()
    ]
    code = [Path(__file__).with_name(f"{name}.py").read_text() for name in CODE]
    keys = ((word, word.partition("=")[0]) for word in overrides)
    asked = [
        word for word, key in keys if key != "seed" and "hydra" not in key
    ]  # which seeds and cells, not how a cell is made
    made_from = [
        asked,
        files,
        code,
        plugins,
        [(name, os.environ.get(name)) for name in sorted(variables)],
        sys.version,
        version("hydra-core"),
        version("omegaconf"),
    ]
    return hashlib.sha256(json.dumps(made_from).encode()).hexdigest()[:32]


def _yaml_files(folder: Path) -> list[Path]:
    """At any depth, through links as well."""
    places = os.walk(folder, followlinks=True)
    return sorted(Path(place, name) for place, _, names in places for name in names if name.endswith(".yaml"))
