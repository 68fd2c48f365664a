"""The settings of a plug-in, read from its signature: names, defaults and types of the parameters.

A plug-in is an optimizer class, or a class or function that makes another part of a run: a model, a data set. Its
parameters are the keys of its config group, besides those that sobench fills in (GIVEN). An object may declare the
rules of its settings itself, as an attribute `rules`.

Only a plug-in's object is loaded, and torch with it. What is built in has its defaults in conf/ and its rules in
`sobench.config.rules` and `sobench.config.validation`.
"""

from __future__ import annotations

import inspect
import math
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from sobench.config import by_path, registry, rules
from sobench.config.rules import OPTIMIZER_RULES, Rule
from sobench.errors import UsageError

IMPLEMENTATION = ("foreach", "fused", "capturable", "differentiable", "maximize")
"""Arguments of torch's optimizers that choose how, not what, is computed; they are not settings of an experiment."""

GIVEN: Mapping[str, tuple[str, ...]] = {
    "optimizer": (),
    "model": ("input_shape", "outputs", "vectors", "symbols", "coordinates"),
    "dataset": ("store",),
    "schedule": ("total_steps",),
    "logger": ("directory",),
    "instrument": ("problem", "clock", "settings"),
}
"""Parameters that sobench fills in, by config group. The first one of an optimizer, its parameters, and that of a
schedule, the optimizer, has any name."""

RESERVED: Mapping[str, tuple[str, ...]] = {
    "optimizer": ("name", "groups"),
    "model": ("name", "loss", "target"),
    "dataset": ("name",),
    "schedule": ("name", "every"),
    "logger": ("name", "copies"),
    "instrument": ("name",),
}
"""Keys of a config group that are sobench's own."""

OF_A_MODEL = {"loss": "cross_entropy", "target": "label"}
"""The defaults of sobench's own keys of a model."""
OF_A_SCHEDULE = {"every": "epoch"}
"""Those of a schedule."""

MEMBERS = {
    "logger": ("start", "row", "flush", "finish", "close", "incomplete"),
    "instrument": ("begin", "around", "at_evaluation", "readings", "state_dict", "load_state_dict"),
}
"""The members that a class must have, by config group."""
BASES = {"logger": "sobench.results.loggers.base.Logger", "instrument": "sobench.training.instruments.base.Instrument"}
"""The class that has them."""

_TYPES: Mapping[Any, Rule] = {
    bool: rules.FLAG,
    int: Rule((int,), "a whole number"),
    float: rules.NUMBER,
    str: Rule((str,), "text"),
    list: Rule((list,), "a list"),
    tuple: Rule((list,), "a list"),
    Sequence: Rule((list,), "a list"),
    dict: Rule((dict,), "keys and values"),
}
"""The rule of a value, by the type in the annotation or of the default."""

_ANYTHING = Rule((object,), "anything", optional=True)


def defaults(group: str, name: str) -> dict[str, Any]:
    """{"name": name, setting: default} of a plug-in; a setting without a default is '???' and must be given.

    Raises UsageError for an object of the wrong kind, and for a parameter that no setting can be.
    """
    own = {p.name: _default(p) for p in _settings(group, name)}
    name = by_path.portable(name)
    ours = {"model": OF_A_MODEL, "schedule": OF_A_SCHEDULE, "logger": {"copies": {name: True}}}
    return {"name": name} | own | ours.get(group, {})


def rules_of(group: str, name: str) -> dict[str, Rule]:
    """{setting: rule} of a plug-in that is no optimizer.

    They are those that it declares, else by annotation, else by the type of the default.
    Raises UsageError as `defaults` and `declared_rules` do.
    """
    declared = declared_rules(group, name)
    return {p.name: declared.get(p.name) or _rule_of(p) for p in _settings(group, name)}


def declared_rules(group: str, name: str) -> Mapping[str, Rule]:
    """{setting: rule} that a plug-in declares itself; those of an optimizer that is built in.

    Raises UsageError for a plug-in whose attribute `rules` is not a mapping of settings to Rule objects.
    """
    if group == "optimizer" and name in OPTIMIZER_RULES:
        return OPTIMIZER_RULES[name]
    declared = getattr(_object(group, name), "rules", {})
    if isinstance(declared, Mapping) and all(isinstance(rule, Rule) for rule in declared.values()):
        return declared
    kind, what = ("class", "hyperparameter") if group == "optimizer" else (group, "setting")
    raise UsageError(
        f"{registry.named(registry.KINDS[group], name)}: `rules` of the {kind}: got {declared!r}, "
        f"allowed: {{{what}: sobench.config.rules.Rule}}"
    )


def call(group: str, name: str, given: Mapping[str, Any], settings: Mapping[str, Any], *first: Any) -> Any:
    """What the object of a part of a run returns for these settings. first: its first arguments.

    given: values for the parameters of GIVEN; those that it has no parameter for are left out. A logger and an
    instrument find their settings in the run's too, so that those without a parameter are left out. A list becomes a
    tuple where the default is one.
    """
    function = registry.load(registry.KINDS[group], name)
    parameters = inspect.signature(function).parameters
    tuples = {key for key, p in parameters.items() if isinstance(p.default, tuple)}
    values = {key: tuple(value) if key in tuples else value for key, value in settings.items()}
    if group in MEMBERS:
        values = {key: value for key, value in values.items() if key in parameters}
    with registry.calling(registry.KINDS[group], name):
        return function(*first, **{key: value for key, value in given.items() if key in parameters}, **values)


def group_of(found: Any) -> str:
    """The config group that an object can belong to, by what it is and by the parameters that it has."""
    import torch

    if inspect.isclass(found) and issubclass(found, torch.optim.Optimizer):
        return "optimizer"
    if hasattr(found, "takes"):
        return "loss"
    own = {p.name for p in _parameters(found, "")} if callable(found) else set()
    by_given = next((group for group, given in GIVEN.items() if own & {*given}), None)
    return by_given or ("schedule" if "optimizer" in own else "dataset")


def _object(group: str, name: str) -> Any:
    """Raises UsageError unless the entry point is a class of torch optimizers, or something that can be called."""
    found = registry.load(registry.KINDS[group], name)
    if group == "optimizer":
        import torch

        if not (inspect.isclass(found) and issubclass(found, torch.optim.Optimizer)):
            raise UsageError(f"{registry.named('optimizers', name)} is not a torch.optim.Optimizer class")
    elif not callable(found):
        raise UsageError(
            f"{registry.named(registry.KINDS[group], name)} is of type {type(found).__name__}; "
            "allowed: a function or a class"
        )
    missing = [member for member in MEMBERS.get(group, ()) if not hasattr(found, member)]
    if missing:
        raise UsageError(
            f"{registry.named(registry.KINDS[group], name)} has no {missing[0]}; allowed: a subclass of {BASES[group]}"
        )
    return found


def _settings(group: str, name: str) -> list[inspect.Parameter]:
    """The parameters that are settings. Raises UsageError for one that cannot be given by its name."""
    found = _object(group, name)
    every = _parameters(found, group)
    parameters = [p for p in every if p.name not in GIVEN[group] and _is_setting(p)]
    if not parameters and any(p.kind is p.VAR_POSITIONAL for p in every):
        raise UsageError(
            f"{registry.named(registry.KINDS[group], name)} takes *args and no parameter with a name; "
            "allowed: parameters that can be given by name"
        )
    for p in parameters:
        reason = None
        if p.name in RESERVED[group]:
            reason = "has the name of a key of sobench's own; allowed: another name"
        elif p.kind is p.POSITIONAL_ONLY:
            reason = "is positional-only; allowed: parameters that can be given by name"
        if reason:
            raise UsageError(f"{registry.named(registry.KINDS[group], name)}: the parameter {p.name!r} {reason}")
    return parameters


def _parameters(found: Any, group: str) -> list[inspect.Parameter]:
    """The parameters of an object, those of an optimizer without the first one; annotations evaluated if possible."""
    target = found.__init__ if group == "optimizer" else found
    try:
        signature = inspect.signature(target, eval_str=True)
    except Exception:  # a name in an annotation may be there for type checkers alone
        try:
            signature = inspect.signature(target)
        except (TypeError, ValueError):  # a compiled function without one
            return []
    own = list(signature.parameters.values())
    skipped = {"optimizer": 2, "schedule": 1}.get(group, 0)  # self, the parameters of the model; the optimizer
    return [p for place, p in enumerate(own) if place >= skipped or p.kind is p.VAR_POSITIONAL]


def _is_setting(p: inspect.Parameter) -> bool:
    """Whether a configuration can hold it: a function, a dtype or infinity as a default stays what it is."""
    if isinstance(p.default, float) and not math.isfinite(p.default):
        return False
    plain = _must_be_given(p) or isinstance(p.default, (bool, int, float, str, tuple, list, dict, type(None)))
    return plain and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD) and p.name not in IMPLEMENTATION


def _must_be_given(p: inspect.Parameter) -> bool:
    """Whether it has no default. An object of torch, `torch.optim.optimizer.required`, says so in older optimizers."""
    return p.default is p.empty or type(p.default).__name__ == "_RequiredParameter"


def _default(p: inspect.Parameter) -> Any:
    if _must_be_given(p):
        return "???"
    return list(p.default) if isinstance(p.default, tuple) else p.default


def _rule_of(p: inspect.Parameter) -> Rule:
    """The rule of a parameter without one of its own. Without an annotation, a number may be any number."""
    by_annotation = _rule_of_type(p.annotation)
    if by_annotation and (_must_be_given(p) or by_annotation.accepts(_default(p))):
        return by_annotation
    if by_annotation and p.default is None:
        return rules.optional(by_annotation)
    kind = type(p.default)
    return _TYPES.get(float if kind is int else kind, _ANYTHING)


def _rule_of_type(annotation: Any) -> Rule | None:
    """The rule of a type, `X | None` included; None for one that a configuration does not have."""
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        rest = [part for part in parts if part is not type(None)]
        found = _rule_of_type(rest[0]) if len(rest) == 1 else None
        return rules.optional(found) if found and len(rest) < len(parts) else found
    return _TYPES.get(origin or annotation) if isinstance(origin or annotation, type) else None
