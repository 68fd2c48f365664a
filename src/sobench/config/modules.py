"""The files of Python modules, found without running any code of theirs. No torch."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Sequence
from importlib.machinery import ModuleSpec, all_suffixes
from pathlib import Path


def module_file(module: str) -> Path | None:
    """The file of a module, found without running any code of its package; None if there is no such module."""
    top, *rest = module.split(".")
    spec = spec_of(top)
    if spec is None:
        return None
    if not rest:
        return Path(spec.origin) if spec.origin else None
    return below(spec.submodule_search_locations or [], rest)


def below(folders: Iterable[Path | str], names: Sequence[str]) -> Path | None:
    """The file of the module with these names, one for each level, below one of the folders; None if there is none."""
    for folder in folders:
        base = Path(folder, *names)
        files = [base.with_name(base.name + suffix) for suffix in all_suffixes()]
        for candidate in (*files, base / "__init__.py"):
            if candidate.is_file():
                return candidate
    return None


def spec_of(top: str) -> ModuleSpec | None:
    """The place that a top-level module would be imported from."""
    try:
        return importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return None
