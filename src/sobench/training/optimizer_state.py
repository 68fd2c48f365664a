"""The state of an optimizer in a checkpoint: its `state_dict`, and what a class of another package keeps elsewhere.

Such classes keep counters, losses and random generators as attributes, of which torch saves none. And torch gives the
tensors of a state the type of their parameter when it loads them; here they have their own type again.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Iterable
from functools import cache
from typing import Any

import torch
from torch import Tensor

from sobench.training.optimizer import ObjectiveOptimizer, is_of_others

PLAIN = (type(None), bool, int, float, str)


@cache
def _of_torch() -> frozenset[str]:
    """The attributes that every optimizer has."""
    return frozenset(vars(torch.optim.Optimizer([torch.zeros(1)], {})))


def state(optimizer: ObjectiveOptimizer) -> dict[str, Any]:
    """The entries "optimizer" and, for a class of another package with attributes, "attributes" of a checkpoint."""
    saved = {"optimizer": optimizer.state_dict()}
    if is_of_others(type(optimizer)):
        found = {name: _saved(value) for name, value in vars(optimizer).items() if name not in _of_torch()}
        saved["attributes"] = {name: value for name, value in found.items() if value is not NotImplemented}
    return saved


def restore(optimizer: ObjectiveOptimizer, saved: dict[str, Any]) -> None:
    """Set what `state` returned."""
    optimizer.load_state_dict(saved["optimizer"])
    if isinstance(optimizer, torch.optim.Optimizer) and is_of_others(type(optimizer)):
        _restore_types(optimizer, saved["optimizer"])
        for name, value in saved.get("attributes", {}).items():
            kept = getattr(optimizer, name, None)
            if isinstance(kept, torch.Generator):
                kept.set_state(value.cpu())
            elif isinstance(kept, random.Random):
                kept.setstate(value)
            else:
                setattr(optimizer, name, value)


def _saved(value: Any) -> Any:
    """An attribute as a checkpoint takes it; NotImplemented for one that is, or has, a parameter or another object."""
    if isinstance(value, torch.Generator):
        return value.get_state()
    if isinstance(value, random.Random):
        return value.getstate()
    return value if _is_plain(value) else NotImplemented


def _is_plain(value: Any) -> bool:
    if type(value) in (list, tuple, set):
        return all(map(_is_plain, value))
    if type(value) is dict:
        return all(type(key) in PLAIN and _is_plain(one) for key, one in value.items())
    return type(value) in PLAIN or type(value) is Tensor and value.grad_fn is None


def _restore_types(optimizer: torch.optim.Optimizer, saved: dict[str, Any]) -> None:
    """Replace each entry of the state that has a tensor of another type than the saved one."""
    numbers = (n for group in saved.get("param_groups", ()) for n in group["params"])
    parameters = (p for group in optimizer.param_groups for p in group["params"])
    for number, p in zip(numbers, parameters):
        entries = saved["state"].get(number, {}) if isinstance(saved.get("state"), dict) else {}
        for key, value in entries.items():
            kept = [t.dtype for t in tensors(optimizer.state[p].get(key))]
            if kept and kept != [t.dtype for t in tensors(value)]:
                optimizer.state[p][key] = copy.deepcopy(value)


def tensors(value: Any) -> list[Tensor]:
    """The tensors in nested lists, tuples and dicts."""
    if isinstance(value, Tensor):
        return [value]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    return [tensor for part in parts for tensor in tensors(part)]


def unsaved_type(value: Any) -> str:
    """The name of the first type in a state that a checkpoint does not take; "" if there is none."""
    parts: Iterable[Any] = ()
    if isinstance(value, dict):
        parts = [*value.keys(), *value.values()]
    elif type(value) in (list, tuple, set):
        parts = value
    elif type(value) not in (*PLAIN, Tensor, torch.dtype):
        return type(value).__name__
    return next(filter(None, map(unsaved_type, parts)), "")
