"""What a run was made with, besides its settings: the code of its method and its data, each as one digest. No torch, and
nothing of a method is imported: its source is read.

method   the optimizer's module (a companion's too) and all that it imports, directly or not, of its own package, of
         sobench.optim and of sobench.linalg, without comments and docstrings; the version of torch for what is torch's own
data     the checksums of the files that the data set is read from; a file of the user's own is told apart by its settings
"""

from __future__ import annotations

import ast
import hashlib
import itertools
import json
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from sobench import registry
from sobench.errors import UsageError

SHARED = ("sobench.optim", "sobench.linalg")
"""What methods are made of."""


def fingerprint(settings: Mapping[str, Any], before: Path | None = None) -> dict[str, str | None]:
    """{"method", "data"} of a run with these settings, None where one cannot be told. before: the directory of a run that
    goes on from a checkpoint; it keeps what it was begun with, so that one of two halves counts as made by the older."""
    begun = recorded(before) if before else None
    return begun or {"method": method(settings), "data": data(settings)}


def recorded(directory: Path | str) -> dict[str, str | None] | None:
    """The fingerprint that a run wrote; None if it has none, being older than fingerprints, or not begun."""
    try:
        with open(f"{directory}/environment.json", "rb") as file:
            text = file.read()
        found = json.loads(text)["fingerprint"] if b'"fingerprint"' in text else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if isinstance(found, dict) else None


# The code of a method


def method(settings: Mapping[str, Any]) -> str | None:
    """The digest of all optimizers of a run: its own, and its instrument's companions."""
    companions = (settings.get("instrument") or {}).get("companions") or {}
    names = [settings["optimizer"]["name"], *sorted(companion["name"] for companion in companions.values())]
    digests = [_optimizer(name) for name in names]
    return None if None in digests else _digest(digests)


@cache
def _optimizer(name: str) -> str | None:
    entry = registry.entries("optimizers").get(name)
    if entry is None:
        return None
    module = entry.module
    sources = _sources(module)
    return _digest([entry.value, *(f"{name} {sources[name]}" for name in sorted(sources))]) if sources else None


def _sources(start: str) -> dict[str, str]:
    """{module: digest of its source} of what a method is made of; of torch its version."""
    package = start.partition(".")[0]
    if package == "torch":
        return {package: metadata.version(package)}
    own = (start if package == "sobench" else package, *SHARED)
    found: dict[str, str] = {}
    waiting = [start]
    while waiting:
        module = waiting.pop()
        within = any(f"{module}.".startswith(f"{one}.") for one in own)
        if within and module not in found and (file := registry.module_file(module)):
            found[module], imports = _read(file, module)
            waiting += imports
    return found


@cache
def _read(file: Path, module: str) -> tuple[str, tuple[str, ...]]:
    """The digest of a module's code, and all that it imports; of a file that is no Python the digest of its bytes."""
    source = file.read_bytes()
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return hashlib.sha256(source).hexdigest(), ()
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    return _digest(_words(tree, [])), tuple(name for node in ast.walk(tree) for name in _imported(node, package))


def _imported(node: ast.AST, package: str) -> list[str]:
    """The modules that a statement imports; what is imported from a package may be a module too."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    parents = package.split(".")
    base = parents[: len(parents) + 1 - node.level] if node.level else []
    name = ".".join([*base, *([node.module] if node.module else [])])
    return [name, *(f"{name}.{alias.name}" for alias in node.names)]


def _words(node: Any, words: list[str]) -> list[str]:
    """A syntax tree as words, without docstrings and what is empty: as ast.dump has it, but alike in every Python."""
    if isinstance(node, ast.AST):
        words.append(type(node).__name__)
        for key, value in ast.iter_fields(node):
            value = value[1:] if key == "body" and _docstring(value) else value
            if value is not None and value != []:
                words.append(key)
                _words(value, words)
        words.append(")")
    elif isinstance(node, list):
        for part in node:
            _words(part, words)
        words.append("]")
    else:
        words.append(f"{type(node).__name__} {node!r}")
    return words


def _docstring(body: Any) -> bool:
    first = body[0] if isinstance(body, list) and body else None
    return isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)


# Data


def data(settings: Mapping[str, Any]) -> str | None:
    """The digest of the files that the data set is read from, as they are here; None where one is not here."""
    from sobench.data import Store, sources

    dataset, place = settings["dataset"], settings.get("data") or {}
    try:
        store = Store.default(place.get("mirror"), place.get("cache"))
        found = [store.checksums(name) for name in sources(dataset, store)]
        vectors = dataset.get("vectors")
        own = [store.checksum(Path(vectors).expanduser())] if vectors and vectors not in store.sources else []
    except (OSError, UsageError):  # no such mirror, a file that cannot be read
        return None
    return None if None in found else _digest(itertools.chain(*found, own))


def _digest(words: Iterable[str]) -> str:
    found = hashlib.sha256()
    for word in words:
        found.update(word.encode() + b"\0")
    return found.hexdigest()
