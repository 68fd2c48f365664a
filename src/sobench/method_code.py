"""The code of a method as one digest, read from its source: nothing of it is imported. No torch.

It is the optimizer's module and all that it imports, directly or not, of its own package, of sobench.optim and of sobench.linalg;
without comments and docstrings. Of what is torch's own it is the version of torch.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from sobench import registry

SHARED = ("sobench.optim", "sobench.linalg")
"""What methods are made of."""


def method(settings: Mapping[str, Any]) -> str | None:
    """The digest of all optimizers of a run: its own, and its instrument's companions."""
    companions = (settings.get("instrument") or {}).get("companions") or {}
    names = [settings["optimizer"]["name"], *sorted(companion["name"] for companion in companions.values())]
    digests = [_optimizer(name) for name in names]
    return None if None in digests else digest(digests)


@cache
def _optimizer(name: str) -> str | None:
    entry = registry.entries("optimizers").get(name)
    if entry is None:
        return None
    module = entry.module
    sources = _sources(module)
    return digest([entry.value, *(f"{name} {sources[name]}" for name in sorted(sources))]) if sources else None


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
    return digest(_words(tree, [])), tuple(name for node in ast.walk(tree) for name in _imported(node, package))


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


def digest(words: Iterable[str]) -> str:
    found = hashlib.sha256()
    for word in words:
        found.update(word.encode() + b"\0")
    return found.hexdigest()
