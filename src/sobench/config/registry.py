"""Optimizers, data sets, models and losses by name: entry points, those of sobench and of plug-ins alike.

Only `load` imports what an entry point names; the other functions read source files, and import no torch.
"""

from __future__ import annotations

import ast
import difflib
import importlib.util
import sys
from collections.abc import Iterable
from functools import cache
from importlib.machinery import ModuleSpec, all_suffixes
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from sobench.errors import UsageError, described
from sobench.system.output import say

KINDS = {"optimizer": "optimizers", "dataset": "datasets", "model": "models", "loss": "losses"}
"""The key in the configuration -> the kind, as in the entry-point group `sobench.<kind>`."""

DEFINITIONS = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


@cache
def entries(kind: str) -> dict[str, EntryPoint]:
    """{name: entry point} of the group `sobench.<kind>`, sorted by name.

    Of two entry points with one name, that of sobench is used, else the first; a warning says so.
    """
    by_name: dict[str, EntryPoint] = {}
    for entry in entry_points(group=f"sobench.{kind}"):
        other = by_name.setdefault(entry.name, entry)
        if other.value != entry.value:
            used, ignored = (other, entry) if is_ours(other) else (entry, other)
            by_name[entry.name] = used
            warn(f"two {kind} are called {entry.name!r}: using {used.value}, not {ignored.value}")
    return dict(sorted(by_name.items()))


def load(kind: str, name: str) -> Any:
    """The object that an entry point names. Raises UsageError for an unknown name, or if the import fails."""
    check_name(kind, name)
    try:
        return entries(kind)[name].load()
    except (Exception, SystemExit) as error:  # the import of a plug-in may raise anything
        target = entries(kind)[name].value
        raise UsageError(f"{key_of(kind)} {name!r} ({target}) cannot be loaded: {described(error)}") from error


def check_name(kind: str, name: str) -> None:
    """Raises UsageError with the nearest match if no entry point of that kind has this name."""
    if not isinstance(name, str) or name not in entries(kind):
        raise UsageError(f"{key_of(kind)}: got {name!r}, {suggestion(name, entries(kind))}")


def suggestion(got: Any, allowed: Iterable[Any]) -> str:
    """The end of an error message: "allowed: a, b, c; did you mean 'b'?"."""
    names = sorted(map(str, allowed))
    near = difflib.get_close_matches(str(got), names, n=1)
    return f"allowed: {', '.join(names)}" + (f"; did you mean {near[0]!r}?" if near else "")


def is_ours(entry: EntryPoint) -> bool:
    """Whether an entry point is one of sobench itself."""
    return entry.dist is not None and entry.dist.name == "sobench"


def origin(entry: EntryPoint) -> str:
    """The distribution that an entry point comes from, as "name version"."""
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist else "unknown"


def warn(message: str) -> None:
    """Print a warning, one line on standard error."""
    say(f"sobench: warning: {message}", sys.stderr)


def summary(entry: EntryPoint) -> str:
    """The first line of an object's docstring, or of its module's, read from the source; "" if there is none.

    Where the source is missing or cannot be parsed, the object cannot be loaded either: then the reason in brackets.
    """
    module, attribute = _target(entry)
    source = module_file(module)
    if source is None:
        return f"(no module {module!r})"
    if source.suffix != ".py":  # compiled: there is nothing to read
        return ""
    try:
        tree = ast.parse(source.read_bytes())
    except (SyntaxError, ValueError, OSError) as error:
        return f"({source.name} cannot be parsed: {described(error)})"
    definitions = [node for node in tree.body if isinstance(node, DEFINITIONS) and node.name == attribute]
    for node in (*definitions, tree):
        text = ast.get_docstring(node)
        if text and text.strip():
            return text.strip().splitlines()[0]
    return ""


def module_of(entry: EntryPoint) -> str:
    """The name of the module that an entry point names."""
    return _target(entry)[0]


def _target(entry: EntryPoint) -> tuple[str, str]:
    """The module and the object of "module:object [extra]"; either may be empty."""
    module, _, attribute = entry.value.partition("[")[0].partition(":")
    return module.strip(), attribute.strip()


def module_file(module: str) -> Path | None:
    """The file of a module, found without running any code of its package; None if there is no such module."""
    top, *rest = module.split(".")
    spec = _spec(top)
    if spec is None:
        return None
    if not rest:
        return Path(spec.origin) if spec.origin else None
    for folder in spec.submodule_search_locations or []:
        base = Path(folder, *rest)
        files = [base.with_name(base.name + suffix) for suffix in all_suffixes()]
        for candidate in (*files, base / "__init__.py"):
            if candidate.is_file():
                return candidate
    return None


def _spec(top: str) -> ModuleSpec | None:
    """The place that a top-level module would be imported from."""
    try:
        return importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return None


def key_of(kind: str) -> str:
    """The key of a kind in the configuration: "optimizer" for "optimizers"."""
    return next(key for key, plural in KINDS.items() if plural == kind)
