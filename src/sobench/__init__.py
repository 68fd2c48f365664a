"""sobench: a benchmark harness for second-order optimization of neural networks.

    f = sobench.Objective(model, sobench.losses.CrossEntropy(), (inputs, targets))
    optimizer = sobench.load_optimizer("hf_gauss_newton")(model.parameters(), lr=0.5, damping=4.0)
    loss = optimizer.step(f)

    sobench.run(dataset="digits", optimizer=["sgd", "kfac"], seed=range(3))    # what `sobench run -m` makes
    frame = sobench.results("runs")                                            # a row for each run
    sobench.summarize(runs="runs").figure()                                    # what `sobench report` writes
    sobench.compare("kfac,sgd", suite="digits", run=True).ranks                # what `sobench compare` prints

Torch is imported at the first access to `Objective` or `losses`.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sobench import losses
    from sobench.cli.notebook import compare, summarize
    from sobench.execution.inline import run
    from sobench.objective import Objective
    from sobench.results.run_frame import frame as results

__version__ = version("sobench")
__all__ = ["Objective", "compare", "load_optimizer", "losses", "results", "run", "summarize"]


def load_optimizer(name: str) -> type:
    """The optimizer class of that name: one of sobench, of torch, or of a plug-in.

    Raises UsageError for an unknown name, with the nearest known one.
    """
    from sobench.config.registry import load

    return load("optimizers", name)


def __getattr__(name: str) -> Any:
    if name == "Objective":
        return import_module("sobench.objective").Objective
    if name in ("losses", "results"):
        return import_module(f"sobench.{name}")
    if name in ("compare", "summarize"):
        return getattr(import_module("sobench.cli.notebook"), name)
    if name == "run":
        return import_module("sobench.execution.inline").run
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
