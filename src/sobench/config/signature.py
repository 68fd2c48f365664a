"""The settings of a plug-in, read from its signature: names, defaults and types of the parameters.

A plug-in is an optimizer class, or a class or function that makes a model or loads a data set. Its parameters are the
keys of its config group, besides those that sobench fills in (GIVEN). An object may declare the rules of its settings
itself, as an attribute `rules`.

Only a plug-in's object is loaded, and torch with it. What is built in has its defaults in conf/ and its rules in
`sobench.config.rules` and `sobench.config.validation`.
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from sobench.config import registry, rules
from sobench.config.rules import OPTIMIZER_RULES, Rule
from sobench.errors import UsageError

IMPLEMENTATION = ("foreach", "fused", "capturable", "differentiable", "maximize")
"""Arguments of torch's optimizers that choose how, not what, is computed; they are not settings of an experiment."""

GIVEN: Mapping[str, tuple[str, ...]] = {
    "optimizer": (),
    "model": ("input_shape", "outputs", "vectors", "coordinates"),
    "dataset": ("store",),
}
"""Parameters that sobench fills in, by config group. An optimizer's first one, its parameters, has any name."""

RESERVED: Mapping[str, tuple[str, ...]] = {
    "optimizer": ("name",),
    "model": ("name", "loss", "target"),
    "dataset": ("name",),
}
"""Keys of a config group that are sobench's own."""

OF_A_MODEL = {"loss": "cross_entropy", "target": "label"}
"""The defaults of sobench's own keys of a model."""

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
    own = {p.name: _default(p.default) for p in _settings(group, name)}
    return {"name": name} | own | (OF_A_MODEL if group == "model" else {})


def rules_of(group: str, name: str) -> dict[str, Rule]:
    """{setting: rule} of a model or data set: those that it declares, else by annotation, else by the default's type.

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


def call(group: str, name: str, given: Mapping[str, Any], settings: Mapping[str, Any]) -> Any:
    """What the object of a model or data set returns for these settings.

    given: values for the parameters of GIVEN; those that it has no parameter for are left out. A list becomes a tuple
    where the default is one.
    """
    function = registry.load(registry.KINDS[group], name)
    parameters = inspect.signature(function).parameters
    tuples = {key for key, p in parameters.items() if isinstance(p.default, tuple)}
    values = {key: tuple(value) if key in tuples else value for key, value in settings.items()}
    with registry.calling(registry.KINDS[group], name):
        return function(**{key: value for key, value in given.items() if key in parameters}, **values)


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
    return found


def _settings(group: str, name: str) -> list[inspect.Parameter]:
    """The parameters that are settings. Raises UsageError for one that cannot be given by its name."""
    found = _object(group, name)
    parameters = [p for p in _parameters(found, group) if p.name not in GIVEN[group] and _is_setting(p)]
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
    return list(signature.parameters.values())[2 if group == "optimizer" else 0 :]


def _is_setting(p: inspect.Parameter) -> bool:
    """Whether a configuration can hold it: a function or a dtype as a default stays what it is."""
    plain = p.default is p.empty or isinstance(p.default, (bool, int, float, str, tuple, list, dict, type(None)))
    return plain and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD) and p.name not in IMPLEMENTATION


def _default(value: Any) -> Any:
    if value is inspect.Parameter.empty:
        return "???"
    return list(value) if isinstance(value, tuple) else value


def _rule_of(p: inspect.Parameter) -> Rule:
    """The rule of a parameter without one of its own. Without an annotation, a number may be any number."""
    by_annotation = _rule_of_type(p.annotation)
    if by_annotation and (p.default is p.empty or by_annotation.accepts(_default(p.default))):
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
