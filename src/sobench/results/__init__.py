"""Reads run directories: the state of a run, one long data frame, values per run, statistics over seeds.

Only `state` is imported with the package; what needs pandas is imported at its first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from sobench.results.state import State, state

if TYPE_CHECKING:
    from sobench.results.collection import Results, collect
    from sobench.results.frame import load

__all__ = ["Results", "State", "collect", "load", "state"]

_LAZY = {"load": "frame", "Results": "collection", "collect": "collection"}
"""Name -> its module, which needs pandas."""


def __getattr__(name: str) -> object:
    if name not in _LAZY:
        raise AttributeError(f"module 'sobench.results' has no attribute {name!r}")
    return getattr(import_module(f"sobench.results.{_LAZY[name]}"), name)
