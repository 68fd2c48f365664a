"""Reads run directories: the state of a run, data frames, values per run, statistics over seeds.

`sobench.results("runs")` is the frame of `run_frame.frame`: this module can be called.

Only `state` is imported with the package; what needs pandas is imported at its first use.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from sobench.results.state import State, state

if TYPE_CHECKING:
    from sobench.results.collection import Results, collect
    from sobench.results.frame import load

__all__ = ["Results", "State", "collect", "load", "state"]

_LAZY = {"load": "frame", "Results": "collection", "collect": "collection"}
"""Name -> its module, which needs pandas."""


class _Callable(ModuleType):
    """A module that is called like its function `frame`."""

    def __call__(self, *arguments: Any, **settings: Any) -> Any:
        return import_module("sobench.results.run_frame").frame(*arguments, **settings)


sys.modules[__name__].__class__ = _Callable


def __getattr__(name: str) -> object:
    if name not in _LAZY:
        raise AttributeError(f"module 'sobench.results' has no attribute {name!r}")
    return getattr(import_module(f"sobench.results.{_LAZY[name]}"), name)
