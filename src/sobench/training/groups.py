"""Parameter groups: which parameters of a model are in which group, and one optimizer made of one for each group.

Each group has an optimizer of its own, also where groups differ in a setting alone: its constructor sees the settings,
and what it couples, as a common step size or the norm of all gradients, it couples within the group.
"""

from __future__ import annotations

import inspect
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd as Convolution

from sobench.config import groups, registry
from sobench.config.match import Facts, parse
from sobench.config.validation import GROUPS_KEY
from sobench.errors import Unsupported, UsageError
from sobench.objective import Objective
from sobench.system.text import either
from sobench.training import optimizer_state
from sobench.training.optimizer import ObjectiveOptimizer, has_modes, make_optimizer
from sobench.training.requirements import requirements_of

SHOWN = 8
"""Parameters that a message names at most."""


def optimizer_of(settings: dict[str, Any], model: nn.Module) -> torch.optim.Optimizer:
    """The optimizer of a run over all parameters of its model. settings: those of the optimizer, with its groups.

    Raises UsageError for settings that do not go with the model, and Unsupported for a method that cannot have a part
    of it.
    """
    parts = divided(settings, model)
    if len(parts) == 1:
        own, parameters = parts[0]
        return make_optimizer(registry.load("optimizers", own["name"]), own, parameters)
    for own, _ in parts:
        _check_takes_part(own["name"])
    members = [make_optimizer(registry.load("optimizers", own["name"]), own, part) for own, part in parts]
    switching = any(has_modes(member) for member in members)
    return (SwitchingGroups if switching else Groups)(members)


# The parameters of each group


def divided(settings: dict[str, Any], model: nn.Module) -> list[tuple[dict[str, Any], list[nn.Parameter]]]:
    """The settings and the parameters of each group, those of the default group last if any are left for it.

    Raises UsageError for a group that gets no parameter, and if the run's own optimizer gets none.
    """
    left = facts(model)
    parts: list[tuple[dict[str, Any], list[nn.Parameter]]] = []
    for number, group in enumerate(groups.groups_of(settings)):
        key = f"{GROUPS_KEY}[{number}].match"
        test = parse(group["match"], key)
        taken = {one: p for one, p in left.items() if test(one)}
        if not taken:
            raise UsageError(_matches_nothing(key, group["match"], test, left, facts(model)))
        left = {one: p for one, p in left.items() if one not in taken}
        parts.append((groups.settings_of(group, settings), list(taken.values())))
    if left or not parts:
        parts.append((groups.own(settings), list(left.values())))
    names = dict.fromkeys(own["name"] for own, _ in parts)
    if settings["name"] not in names:
        raise UsageError(
            f"optimizer: got {settings['name']!r}, which has no parameters: the groups of others take them all; "
            f"allowed: {either(f'optimizer={name}' for name in names)}"
        )
    return parts


def _matches_nothing(key: str, text: str, test: Any, left: Iterable[Facts], every: Iterable[Facts]) -> str:
    elsewhere = [one for one in every if test(one)]
    reason = f"but earlier groups have {_named(elsewhere)}" if elsewhere else "which matches no parameter of this model"
    return f"{key}: got {text!r}, {reason}; allowed: an expression for {_named(left)}"


def _named(parameters: Iterable[Facts]) -> str:
    """ "0.weight (ndim 2), 0.bias (ndim 1) and 3 more" """
    texts = [f"{one.name} (ndim {one.ndim})" for one in parameters]
    more = f" and {len(texts) - SHOWN} more" if texts[SHOWN:] else ""
    return (", ".join(texts[:SHOWN]) or "none, as no parameter is left") + more


def facts(model: nn.Module) -> dict[Facts, nn.Parameter]:
    """What is known of each parameter of a model, in the order of `model.parameters()`.

    A parameter that several layers share is of the kinds of each of them.
    """
    layers = [(name, layer, dict(layer.named_parameters(recurse=False))) for name, layer in model.named_modules()]
    last = next((layer for _, layer, own in reversed(layers) if own), None)
    kinds: dict[nn.Parameter, set[str]] = defaultdict(set)
    for name, layer, own in layers:
        for word, p in own.items():
            owner, path, word = _behind_parametrization(model, layer, name, word)
            kinds[p] |= _kinds(owner, path, word) | ({"output"} if layer is last else set())
    return {Facts(name, p.ndim, frozenset(kinds[p])): p for name, p in model.named_parameters()}


def _behind_parametrization(model: nn.Module, layer: nn.Module, name: str, word: str) -> tuple[nn.Module, str, str]:
    """The layer, its path and the name in it of a parameter, also of one behind torch's parametrizations."""
    path, found, parametrized = name.rpartition("parametrizations.")
    if not found:
        return layer, name, word
    path = path.removesuffix(".")
    return model.get_submodule(path), path, parametrized.partition(".")[0]


def _kinds(layer: nn.Module, path: str, word: str) -> set[str]:
    is_embedding = isinstance(layer, (nn.Embedding, nn.EmbeddingBag)) or "embed" in path.rpartition(".")[2].lower()
    true = {
        "bias": "bias" in word,
        "weight": "weight" in word,
        "norm": any("Norm" in cls.__name__ for cls in type(layer).__mro__),
        "embedding": is_embedding,
        "conv": isinstance(layer, Convolution),
        "linear": isinstance(layer, (nn.Linear, nn.MultiheadAttention)),
    }
    return {kind for kind, holds in true.items() if holds}


# The optimizer of all groups


def _check_takes_part(name: str) -> None:
    """Raises Unsupported for a method that needs more than the gradients of its own parameters."""
    cls = registry.load("optimizers", name)
    if others := requirements_of(cls) - {"closure"}:
        reason = f"requires {', '.join(sorted(others))} of the whole model"
    elif required := [p.name for p in list(inspect.signature(cls.step).parameters.values())[1:] if _is_required(p)]:
        reason = f"evaluates the loss in its step, which takes {required[0]}"
    else:
        return
    raise Unsupported(
        f"{GROUPS_KEY}: {registry.named('optimizers', name)} {reason}; allowed beside others: a method that needs the "
        "gradients of its own parameters alone"
    )


def _is_required(p: inspect.Parameter) -> bool:
    return p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)


class Groups(torch.optim.Optimizer):
    """One optimizer of several, each over parameters of its own.

    A step evaluates the loss and the gradient once, and then makes the step of each. `param_groups` are those of all,
    so that a schedule acts on all.
    """

    def __init__(self, members: Sequence[torch.optim.Optimizer]):
        self.members = members
        super().__init__([{"params": group["params"]} for member in members for group in member.param_groups], {})
        self._link()

    def _link(self) -> None:
        self.param_groups = [group for member in self.members for group in member.param_groups]

    @property
    def diagnostics(self) -> dict[str, Any]:
        """Those of all, each with the number of its group behind its name."""
        return {
            f"{key}_{number}": value
            for number, member in enumerate(self.members)
            for key, value in getattr(member, "diagnostics", {}).items()
        }

    def warm_start(self, f: Objective) -> None:
        """The warm starts of those that have one."""
        for member in self.members:
            if warm_start := getattr(member, "warm_start", None):
                warm_start(f)

    def step(self, f: Objective) -> Tensor:  # type: ignore[override]  # torch's takes a closure; an objective is one
        """Move the parameters of all groups once. Returns f(theta) before the step, a scalar."""
        loss = f()
        for member in self.members:
            member.step()
        return loss

    def state_dict(self) -> dict[str, Any]:
        """The states of all, in order, with what a class of another package keeps in attributes."""
        return {"members": [optimizer_state.state(member) for member in self._stepping()]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the states that `state_dict` returned; those of older checkpoints are torch's alone."""
        for member, saved in zip(self._stepping(), state_dict["members"], strict=True):
            optimizer_state.restore(member, saved if "optimizer" in saved else {"optimizer": saved})
        self._link()

    def _stepping(self) -> Sequence[ObjectiveOptimizer]:
        """The members, as the training loop sees an optimizer."""
        return cast("Sequence[ObjectiveOptimizer]", self.members)


class SwitchingGroups(Groups):
    """Groups of which some have a training mode and an evaluation mode."""

    def train(self) -> None:
        """Put those with modes into training mode."""
        for member in self.members:
            if has_modes(member):
                member.train()

    def eval(self) -> None:
        """Put those with modes into evaluation mode."""
        for member in self.members:
            if has_modes(member):
                member.eval()
