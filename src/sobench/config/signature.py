"""The configuration of a plug-in that brings no YAML: its constructor's signature, as torch's optimizers have it."""

from __future__ import annotations

import inspect
from typing import Any

from sobench.config import registry
from sobench.errors import UsageError

IMPLEMENTATION = ("foreach", "fused", "capturable", "differentiable", "maximize")
"""Arguments of torch's optimizers that choose how, not what, is computed; they are not settings of an experiment."""


def optimizer_defaults(name: str) -> dict[str, Any]:
    """{"name": name, hyperparameter: default}; a hyperparameter without a default is '???' and must be given.

    Raises UsageError if the object is not a torch optimizer class with the signature (params, **hyperparameters).
    """
    import torch

    cls = registry.load("optimizers", name)
    if not (inspect.isclass(cls) and issubclass(cls, torch.optim.Optimizer)):
        raise UsageError(
            f"optimizer {name!r} ({registry.entries('optimizers')[name].value}) is not a torch.optim.Optimizer class"
        )
    parameters = list(inspect.signature(cls.__init__).parameters.values())[2:]
    return {"name": name} | {p.name: _default(p.default) for p in parameters if _is_setting(p)}


def _is_setting(p: inspect.Parameter) -> bool:
    """Whether a configuration can hold it: a function or a dtype as a default stays what it is."""
    plain = p.default is p.empty or isinstance(p.default, (bool, int, float, str, tuple, list, dict, type(None)))
    return plain and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD) and p.name not in IMPLEMENTATION


def _default(value: Any) -> Any:
    if value is inspect.Parameter.empty:
        return "???"
    return list(value) if isinstance(value, tuple) else value
