"""sobench: a benchmark harness for second-order optimization of neural networks.

    f = sobench.Objective(model, sobench.losses.CrossEntropy(), (inputs, targets))
    optimizer = sobench.load_optimizer("hf_gauss_newton")(model.parameters(), lr=0.5, damping=4.0)
    loss = optimizer.step(f)

Torch is imported when `Objective` or `losses` is first asked for.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import Any

__version__ = version("sobench")
__all__ = ["Objective", "load_optimizer", "losses"]


def load_optimizer(name: str) -> type:
    """The optimizer class of that name, ours, torch's or a plug-in's. Raises UsageError with the nearest match."""
    from sobench.config.registry import load

    return load("optimizers", name)


def __getattr__(name: str) -> Any:
    if name == "Objective":
        return import_module("sobench.objective").Objective
    if name == "losses":
        return import_module("sobench.losses")
    raise AttributeError(f"module 'sobench' has no attribute {name!r}")
