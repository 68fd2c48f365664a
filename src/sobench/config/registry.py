"""Everything that has a name is found through entry points, ours and a user's alike. No torch until something is loaded."""

from __future__ import annotations

import ast
import difflib
import importlib.util
import sys
from functools import cache
from importlib.machinery import ModuleSpec, all_suffixes
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from sobench.errors import UsageError, described

KINDS = {"optimizer": "optimizers", "dataset": "datasets", "model": "models", "loss": "losses"}
"""What one of a kind is called, as in the configuration -> the kind, as in the entry-point group `sobench.<kind>`."""


@cache
def entries(kind: str) -> dict[str, EntryPoint]:
    """{name: entry point} of group `sobench.<kind>`, sorted. Two of one name: ours wins, and a line says so."""
    found: dict[str, EntryPoint] = {}
    for entry in entry_points(group=f"sobench.{kind}"):
        other = found.setdefault(entry.name, entry)
        if other.value != entry.value:
            ours, theirs = (other, entry) if is_ours(other) else (entry, other)
            found[entry.name] = ours
            warn(f"two {kind} are called {entry.name!r}: using {ours.value}, not {theirs.value}")
    return dict(sorted(found.items()))


def load(kind: str, name: str) -> Any:
    """The object that a name stands for. Raises UsageError for an unknown name or one that cannot be imported."""
    check_name(kind, name)
    try:
        return entries(kind)[name].load()
    except (Exception, SystemExit) as error:  # whatever a plug-in's import raises
        raise UsageError(
            f"{_one(kind)} {name!r} ({entries(kind)[name].value}) cannot be loaded: {described(error)}"
        ) from error


def check_name(kind: str, name: str) -> None:
    """Raises UsageError with the nearest match if no entry point of that kind has this name."""
    if not isinstance(name, str) or name not in entries(kind):
        raise UsageError(f"{_one(kind)}: got {name!r}, {suggestion(name, entries(kind))}")


def suggestion(got: Any, allowed) -> str:
    """'allowed: a, b, c; did you mean b?'"""
    names = sorted(map(str, allowed))
    near = difflib.get_close_matches(str(got), names, n=1)
    return f"allowed: {', '.join(names)}" + (f"; did you mean {near[0]!r}?" if near else "")


def is_ours(entry: EntryPoint) -> bool:
    return entry.dist is not None and entry.dist.name == "sobench"


def origin(entry: EntryPoint) -> str:
    """The package an entry point comes from, 'name version'."""
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist else "unknown"


def warn(message: str) -> None:
    """One line on standard error."""
    print(f"sobench: warning: {message}", file=sys.stderr)


def defect(entry: EntryPoint) -> str | None:
    """Why an entry point cannot work, found by reading its source and importing nothing; None if nothing is wrong."""
    module, attribute = _target(entry)
    source = module_file(module)
    if source is None:
        return f"no module {module!r}"
    if source.suffix != ".py":  # compiled: nothing to read
        return None
    try:
        tree = ast.parse(source.read_bytes())
    except (SyntaxError, ValueError, OSError) as error:
        return f"{source.name} cannot be parsed: {described(error)}"
    for node in tree.body:
        if isinstance(node, ast.Raise):
            return f"{source.name} raises when it is imported: {ast.unparse(node)}"
        if missing := [name for name in _imported(node) if _spec(name) is None]:
            return f"{source.name} imports {missing[0]!r}, which is not installed"
    names = {name for node in tree.body for name in _defined(node)}
    if attribute.split(".")[0] not in names and not names & {"*", "__getattr__"}:
        return f"module {module!r} has no {attribute!r}"
    return None


def summary(entry: EntryPoint) -> str:
    """The first line of the object's docstring, or of its module's, read without importing it; '' if it cannot be read."""
    module, attribute = _target(entry)
    source = module_file(module)
    try:
        tree = ast.parse(source.read_bytes() if source and source.suffix == ".py" else b"")
    except (SyntaxError, ValueError, OSError):
        return ""
    found = [n for n in tree.body if getattr(n, "name", None) == attribute]
    text = next((doc for node in [*found, tree] if (doc := ast.get_docstring(node))), "")
    return text.strip().splitlines()[0] if text else ""


def _target(entry: EntryPoint) -> tuple[str, str]:
    """Module and object of 'module:object', whatever else is written there."""
    module, _, attribute = entry.value.partition("[")[0].partition(":")
    return module.strip(), attribute.strip()


def module_file(module: str) -> Path | None:
    """The file of a module, found without running any of its package."""
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
    """Where a top-level module would be imported from."""
    try:
        return importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return None


def _imported(node: ast.stmt) -> list[str]:
    """The top-level modules that a statement needs; those of its own package are not looked at."""
    if isinstance(node, ast.Import):
        return [alias.name.partition(".")[0] for alias in node.names]
    if isinstance(node, ast.ImportFrom) and not node.level:
        return [node.module.partition(".")[0]]
    return []


def _defined(node: ast.stmt) -> list[str]:
    if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
        return [node.name]
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return [alias.asname or alias.name for alias in node.names]
    if isinstance(node, (ast.Assign, ast.AnnAssign)):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        return [t.id for t in targets if isinstance(t, ast.Name)]
    if isinstance(node, (ast.If, ast.Try, ast.With, ast.ExceptHandler)):
        children = [child for part in ("body", "handlers", "orelse", "finalbody") for child in getattr(node, part, [])]
        return [name for child in children for name in _defined(child)]
    return []


def _one(kind: str) -> str:
    return next(one for one, many in KINDS.items() if many == kind)
