"""The hyperparameters of a plug-in, read from its class: names and defaults from the constructor, rules from `rules`.

Only a plug-in's class is loaded, and torch with it. The built-in optimizers have their defaults in conf/optimizer and
their rules in `sobench.config.rules`.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from sobench.config import registry
from sobench.config.rules import OPTIMIZER_RULES, Rule
from sobench.errors import UsageError

IMPLEMENTATION = ("foreach", "fused", "capturable", "differentiable", "maximize")
"""Arguments of torch's optimizers that choose how, not what, is computed; they are not settings of an experiment."""


def optimizer_defaults(name: str) -> dict[str, Any]:
    """{"name": name, hyperparameter: default}; a hyperparameter without a default is '???' and must be given.

    Raises UsageError if the object is not a torch optimizer class with the signature (params, **hyperparameters).
    """
    parameters = list(inspect.signature(_optimizer_class(name).__init__).parameters.values())[2:]
    return {"name": name} | {p.name: _default(p.default) for p in parameters if _is_setting(p)}


def optimizer_rules(name: str) -> Mapping[str, Rule]:
    """{hyperparameter: rule} that the optimizer declares itself; a name of rules.COMMON needs none.

    Raises UsageError for a plug-in whose class attribute `rules` is not a mapping of hyperparameters to Rule objects.
    """
    if name in OPTIMIZER_RULES:
        return OPTIMIZER_RULES[name]
    declared = getattr(_optimizer_class(name), "rules", {})
    if isinstance(declared, Mapping) and all(isinstance(rule, Rule) for rule in declared.values()):
        return declared
    raise UsageError(
        f"optimizer {name!r} ({registry.entries('optimizers')[name].value}): `rules` of the class: got {declared!r}, "
        "allowed: {hyperparameter: sobench.config.rules.Rule}"
    )


def _optimizer_class(name: str) -> type[Any]:
    """Raises UsageError if the entry point is not a class of torch optimizers."""
    import torch

    cls = registry.load("optimizers", name)
    if inspect.isclass(cls) and issubclass(cls, torch.optim.Optimizer):
        return cls
    raise UsageError(
        f"optimizer {name!r} ({registry.entries('optimizers')[name].value}) is not a torch.optim.Optimizer class"
    )


def _is_setting(p: inspect.Parameter) -> bool:
    """Whether a configuration can hold it: a function or a dtype as a default stays what it is."""
    plain = p.default is p.empty or isinstance(p.default, (bool, int, float, str, tuple, list, dict, type(None)))
    return plain and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD) and p.name not in IMPLEMENTATION


def _default(value: Any) -> Any:
    if value is inspect.Parameter.empty:
        return "???"
    return list(value) if isinstance(value, tuple) else value
