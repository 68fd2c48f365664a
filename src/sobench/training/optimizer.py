"""The optimizer of a run: its type as the training loop sees it, its construction from settings, and its modes."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any, Protocol, TypeGuard

import torch
from torch import Tensor

from sobench.errors import UsageError, described
from sobench.objective import Objective
from sobench.objective.torch_private import defer_dynamo


class ObjectiveOptimizer(Protocol):
    """A `torch.optim.Optimizer` whose `step` is called with an Objective.

    torch declares that the closure of `step` returns a float. An Objective is a closure that returns a tensor, which
    torch's own optimizers accept.
    """

    def step(self, f: Objective, /) -> Tensor | float:
        """Make one step on the batch of `f`; return the loss before the step."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """The state that a resumed run needs."""
        ...

    def load_state_dict(self, state_dict: dict[str, Any], /) -> None:
        """Restore a state that `state_dict` returned."""
        ...


class SwitchingOptimizer(Protocol):
    """An optimizer with a training mode, in which it steps, and an evaluation mode, which moves the parameters to the
    point that the method recommends: Schedule-Free's average, for example."""

    def train(self) -> None:
        """Move the parameters to the point at which the next step is made."""
        ...

    def eval(self) -> None:
        """Move the parameters to the point at which the method is evaluated."""
        ...


def has_modes(optimizer: object) -> TypeGuard[SwitchingOptimizer]:
    """Whether an optimizer has a training mode and an evaluation mode: the methods `train` and `eval`.

    Raises UsageError if it has only one of the two.
    """
    train, evaluate = (callable(getattr(optimizer, name, None)) for name in ("train", "eval"))
    if train != evaluate:
        there, missing = ("train", "eval") if train else ("eval", "train")
        raise UsageError(
            f"optimizer: {type(optimizer).__name__} has {there}() and no {missing}(); allowed: both, or neither"
        )
    return train


def is_of_others(cls: object) -> bool:
    """Whether a class was not written for sobench: then it does not say what it requires of an objective."""
    return not hasattr(cls, "requires")


def make_optimizer(
    cls: Callable[..., torch.optim.Optimizer], settings: dict[str, Any], parameters: Iterable[torch.nn.Parameter]
) -> torch.optim.Optimizer:
    """An optimizer of the class `cls` over `parameters`, with the keys of `settings` besides `name` as hyperparameters.

    An optimizer with modes is in training mode. A list becomes a tuple, as torch expects `betas`. Raises UsageError for
    an optimizer with one mode of two, and with the message of the constructor if it raises TypeError or ValueError, or
    any exception if the class was not written for sobench.
    """
    defer_dynamo()
    hyperparameters = {k: tuple(v) if isinstance(v, list) else v for k, v in settings.items() if k != "name"}
    try:
        optimizer = cls(parameters, **hyperparameters)
    except Exception as error:
        usual = isinstance(error, (TypeError, ValueError))
        if isinstance(error, (MemoryError, torch.OutOfMemoryError)) or not (usual or is_of_others(cls)):
            raise
        text = str(error) if usual else described(error)
        raise UsageError(f"optimizer {settings['name']!r}: {text}{_hint(cls, error)}") from error
    switching: object = optimizer
    if has_modes(switching):
        with torch.no_grad():
            switching.train()
    return optimizer


def _hint(cls: Callable[..., Any], error: Exception) -> str:
    """What a class that cannot be constructed may have expected in place of the parameters of the model."""
    first = next(iter(inspect.signature(cls).parameters), "")
    if not first.startswith("param"):
        return f"; its first argument is `{first}`, allowed: a class whose first argument is the parameters of a model"
    if isinstance(error, (TypeError, ValueError)):
        return ""
    return "; allowed: a class that takes the parameters of a model as they are"
