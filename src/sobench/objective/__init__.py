"""The objective f_B(theta) of one batch and its oracles: all of the automatic differentiation of the model.

The names in `__all__` are the public interface. Torch is imported at the first access to one of them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sobench.objective.complex_oracles import complex_hessian
    from sobench.objective.layers.records import LayerRecord
    from sobench.objective.objective import Batch, Objective
    from sobench.objective.parameter_space import ParameterSpace
    from sobench.objective.taylor.partition import Partition, make_partition

__all__ = ["Batch", "LayerRecord", "Objective", "ParameterSpace", "Partition", "complex_hessian", "make_partition"]

_HOME = {
    "Batch": "objective",
    "LayerRecord": "layers.records",
    "Objective": "objective",
    "ParameterSpace": "parameter_space",
    "Partition": "taylor.partition",
    "complex_hessian": "complex_oracles",
    "make_partition": "taylor.partition",
}
"""The module of this package that defines each name."""


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
