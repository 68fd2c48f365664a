"""The optimizer of a run: its type as the training loop sees it, and its construction from settings."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

import torch
from torch import Tensor

from sobench.errors import UsageError
from sobench.objective import Objective


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


def make_optimizer(
    cls: Callable[..., torch.optim.Optimizer], settings: dict[str, Any], parameters: Iterable[torch.nn.Parameter]
) -> torch.optim.Optimizer:
    """An optimizer of the class `cls` over `parameters`, with the keys of `settings` besides `name` as hyperparameters.

    A list becomes a tuple, as torch expects `betas`. Raises UsageError with the message of the constructor if it raises
    TypeError or ValueError.
    """
    hyperparameters = {k: tuple(v) if isinstance(v, list) else v for k, v in settings.items() if k != "name"}
    try:
        return cls(parameters, **hyperparameters)
    except (TypeError, ValueError) as error:
        raise UsageError(f"optimizer {settings['name']!r}: {error}") from error
