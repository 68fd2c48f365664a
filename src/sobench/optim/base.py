"""What every optimizer of ours shares: torch's signature, the flat step, and a state that resumes bit for bit."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sobench.config.rules import check_hyperparameter
from sobench.errors import UsageError
from sobench.objective import Objective
from sobench.objective.parameter_space import ParameterSpace
from sobench.objective.torch_private import multi_mul_


class SecondOrderOptimizer(torch.optim.Optimizer):
    """A `torch.optim.Optimizer` whose `step(f)` takes an Objective and returns the loss before the step.

    requires: the oracles that `step` uses. diagnostics: numbers (or 0-dim tensors) of the last step, for the record.
    State that belongs to all parameters at once lives in `self.shared`; both it and `self.state[p]` are saved by
    `state_dict` and restored with the dtypes they had. Raises UsageError for a hyperparameter out of range and for
    parameter groups that differ: a flat step moves all of theta with one set of hyperparameters.
    """

    requires: frozenset[str] = frozenset()

    def __init__(self, params, **hyperparameters: Any):
        super().__init__(params, hyperparameters)
        if len(self.param_groups) > 1:
            raise UsageError(f"{type(self).__name__} takes one parameter group, got {len(self.param_groups)}")
        for name in hyperparameters:
            check_hyperparameter(name, self.param_groups[0][name])
        self.diagnostics: dict[str, float | str | Tensor] = {}
        self.register_step_pre_hook(_check_parameters)

    @property
    def hyperparameters(self) -> dict[str, Any]:
        """The group's settings, read at every step, so that a torch scheduler on `lr` works."""
        return self.param_groups[0]

    @property
    def shared(self) -> dict[str, Any]:
        """State of the whole vector theta."""
        return self.state["shared"]

    def step(self, f: Objective) -> Tensor:  # type: ignore[override]
        raise NotImplementedError

    def fits(self, space: ParameterSpace) -> None:
        """Before any work: raises UsageError for hyperparameters that do not go with these parameters. All do by default."""

    # What a step is made of

    def initialize(self, f: Objective) -> None:
        """Statistics that a method estimates before its first step, from `f.batches()`. None by default."""

    def warm_start(self, f: Objective) -> None:
        """Before the first step. The loop calls it off the clock and records its time apart; `begin` calls it otherwise."""
        self.initialize(f)
        self.shared["step"] = 0

    def begin(self, f: Objective) -> int:
        """The number of the step that begins: 1, 2, ..."""
        if "step" not in self.shared:
            self.warm_start(f)
        self.shared["step"] += 1
        return self.shared["step"]

    def inverses_due(self, k: int, fresh: bool) -> bool:
        """Whether step k forms its inverses anew: the first, every inverse_period-th, and, with early_inverses, those of the
        first inverse_period whose statistics are fresh."""
        hp = self.hyperparameters
        early = fresh and hp["early_inverses"] and k <= hp["inverse_period"]
        return k == 1 or k % hp["inverse_period"] == 0 or early

    def averaged(self, g: Tensor, momentum: float, dampening: float = 0.0) -> Tensor:
        """m <- momentum m + (1 - dampening) g from m = 0, [P]: the state itself, not to be written."""
        if "momentum" not in self.shared:
            self.shared["momentum"] = torch.zeros_like(g)
        return self.shared["momentum"].mul_(momentum).add_(g, alpha=1 - dampening)

    @torch.no_grad()
    def descend(self, f: Objective, p: Tensor) -> None:
        """theta <- theta - lr (p + weight_decay theta), for a direction p [P]."""
        lr, decay = self.hyperparameters["lr"], self.hyperparameters.get("weight_decay", 0.0)
        if decay:
            multi_mul_(f.space.parameters, 1 - lr * decay)
        f.space.add_(p, alpha=-lr)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As torch's, but a saved tensor keeps its dtype: torch casts it to its parameter's."""
        super().load_state_dict(state_dict)
        device = self.param_groups[0]["params"][0].device
        parameters = self.param_groups[0]["params"]
        for key, saved in state_dict["state"].items():
            owner = parameters[key] if isinstance(key, int) else key
            self.state[owner] = _restored(saved, device)


def _check_parameters(optimizer: SecondOrderOptimizer, args: tuple, kwargs: dict) -> None:
    """Raises UsageError unless the optimizer was given all of the parameters that theta has."""
    f = kwargs.get("f", args[-1])
    given = [p for p in optimizer.param_groups[0]["params"] if p.requires_grad]
    if len(given) != len(f.space.parameters) or any(p is not q for p, q in zip(given, f.space.parameters)):
        raise UsageError(
            f"{type(optimizer).__name__} was given {len(given)} parameters, the objective has "
            f"{len(f.space.parameters)} trainable ones; allowed: model.parameters() of the same model"
        )


def _restored(value: Any, device: torch.device) -> Any:
    """A copy of a saved state on `device`, every tensor with its own dtype."""
    if isinstance(value, Tensor):
        return value.detach().clone().to(device)
    if isinstance(value, dict):
        return {k: _restored(v, device) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_restored(v, device) for v in value)
    return value
