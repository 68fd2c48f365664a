"""Optimizers, data sets, models and losses by name: entry points, those of sobench and of plug-ins alike.

Only `load` imports what an entry point names; the other functions read source files, and import no torch.
"""

from __future__ import annotations

import ast
import difflib
import importlib.util
import re
import sys
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib.machinery import ModuleSpec, all_suffixes
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from sobench.errors import SobenchError, UsageError, described
from sobench.system.output import say
from sobench.system.text import either

KINDS = {"optimizer": "optimizers", "dataset": "datasets", "model": "models", "loss": "losses"}
"""The key in the configuration -> the kind, as in the entry-point group `sobench.<kind>`."""

WHOLE = 12
"""The most names that a message lists whole, if there is a command that lists them."""
FEW = 5
"""The most names that it lists of a longer list."""
SIMILAR = 0.6
"""The similarity of two texts, at most 1, from which on one is taken for the other with an error in it."""

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


def members(group: str) -> Iterable[str]:
    """The names of a config group that are entry points; none for a group such as `budget`."""
    return entries(KINDS[group]) if group in KINDS else ()


def is_plugin(group: str, name: str) -> bool:
    """Whether a member of a config group, or a loss, is an entry point of another package."""
    entry = entries(KINDS[group]).get(name) if group in KINDS else None
    return entry is not None and not is_ours(entry)


def named(kind: str, name: str) -> str:
    """An entry point in a message: "model 'mine' (mypackage.net:Net)"."""
    return f"{key_of(kind)} {name!r} ({entries(kind)[name].value})"


@contextmanager
def calling(kind: str, name: str) -> Iterator[None]:
    """A context that turns an exception of a plug-in into a UsageError of one line, with its place in the source.

    Lack of memory is no fault of the plug-in, and errors of sobench say by themselves what is wrong.
    """
    try:
        yield
    except (SobenchError, MemoryError):
        raise
    except Exception as error:
        if not is_plugin(key_of(kind), name) or type(error).__name__ == "OutOfMemoryError":
            raise
        frames = traceback.extract_tb(error.__traceback__)
        own = [frame for frame in frames if _is_in_package(frame.filename, kind, name)]
        place = (own or frames)[-1]
        where = f"{Path(place.filename).name}, line {place.lineno}"
        raise UsageError(f"{named(kind, name)} raised {described(error)} ({where})") from error


def _is_in_package(file: str, kind: str, name: str) -> bool:
    """Whether a source file is in the folder of the module that an entry point names."""
    module = module_file(module_of(entries(kind)[name]))
    return module is not None and Path(file).is_relative_to(module.parent)


def load(kind: str, name: str) -> Any:
    """The object that an entry point names. Raises UsageError for an unknown name, or if the import fails."""
    check_name(kind, name)
    try:
        return entries(kind)[name].load()
    except (Exception, SystemExit) as error:  # the import of a plug-in may raise anything
        raise UsageError(f"{named(kind, name)} cannot be loaded: {described(error)}") from error


def check_name(kind: str, name: str) -> None:
    """Raises UsageError with the nearest match if no entry point of that kind has this name."""
    if not isinstance(name, str) or name not in entries(kind):
        raise UsageError(f"{key_of(kind)}: got {name!r}, {suggestion(name, entries(kind), f'sobench list {kind}')}")


def suggestion(got: Any, allowed: Iterable[Any], listing: str = "") -> str:
    """The end of an error message: "allowed: a, b, c; did you mean 'b'?".

    listing: a command that prints all names. With one, a list of more than WHOLE names is replaced by the near ones,
    "did you mean 'b' or 'c'? (all 73: COMMAND)", or by some examples if none is near.
    """
    names = sorted(map(str, allowed))
    near = nearest(got, names)
    if len(names) <= WHOLE or not listing:
        return f"allowed: {', '.join(names)}" + (f"; did you mean {near[0]!r}?" if near else "")
    every = f"(all {len(names)}: {listing})"
    if near:
        return f"did you mean {either(map(repr, near[:FEW]))}? {every}"
    return f"allowed: {', '.join(names[:: -(-len(names) // FEW)])}, ... {every}"


def nearest(got: Any, names: Iterable[str]) -> list[str]:
    """The names that are like `got`, the most similar first; the case of letters does not count.

    A name is like a text that it contains, and one that is similar to it or to its last part, as table-3 of
    practical/table-3.
    """
    text = str(got).lower()
    near = {name: _nearness(text, name.lower()) for name in names if isinstance(got, str) and text}
    return sorted((name for name in near if near[name] >= SIMILAR), key=lambda name: (-near[name], name))


def _nearness(text: str, name: str) -> float:
    ends = {name, re.split(r"[/.]", name)[-1]}
    alike = max(difflib.SequenceMatcher(None, text, end).ratio() for end in ends)
    return max(alike, SIMILAR) if len(text) > 2 and text in name else alike


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
    tree = _parsed(entry)
    if isinstance(tree, str):
        return tree
    attribute = _target(entry)[1]
    definitions = [node for node in tree.body if isinstance(node, DEFINITIONS) and node.name == attribute]
    for node in (*definitions, tree):
        text = ast.get_docstring(node)
        if text and text.strip():
            return text.strip().splitlines()[0]
    return ""


def documentation(entry: EntryPoint) -> str:
    """The docstring of the module that an entry point names, read from the source; "" if there is none."""
    tree = _parsed(entry)
    return "" if isinstance(tree, str) else ast.get_docstring(tree) or ""


def _parsed(entry: EntryPoint) -> ast.Module | str:
    """The source of the module that an entry point names; the reason in brackets where there is none to parse."""
    module = module_of(entry)
    source = module_file(module)
    if source is None:
        return f"(no module {module!r})"
    if source.suffix != ".py":  # compiled: there is nothing to read
        return ""
    try:
        return ast.parse(source.read_bytes())
    except (SyntaxError, ValueError, OSError) as error:
        return f"({source.name} cannot be parsed: {described(error)})"


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
