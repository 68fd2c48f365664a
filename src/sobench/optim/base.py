"""SecondOrderOptimizer: torch's signature, checked hyperparameters, a flat step, and a state that resumes bit for bit.

A method names its oracles in `requires` and the rules of its hyperparameters in `rules`, estimates what it needs
before the first step in `initialize(f)`, and moves the parameters in `step(f)`. docs/optimizers.md explains each of
these.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, cast

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from sobench.config.rules import COMMON, Rule, check
from sobench.errors import UsageError
from sobench.objective import Objective
from sobench.objective.parameter_space import ParameterSpace
from sobench.objective.torch_private import multi_mul_

GLOBAL = "shared"
"""The key of `global_state` in `state` and `state_dict`: its name when the first checkpoints were written."""


class SecondOrderOptimizer(torch.optim.Optimizer):
    """A `torch.optim.Optimizer` whose `step(f)` takes an Objective and returns the loss before the step.

    requires: the oracles that `step` and `initialize` use. rules: the rule of each hyperparameter that is not in
    `sobench.config.rules.COMMON`; one without a rule takes any value here. diagnostics: numbers, words or 0-dim
    tensors of the last step, which the run records.

    State of the whole vector theta is in `global_state`, state of one parameter p in `state[p]`. `state_dict` saves
    both, and `load_state_dict` restores every tensor with the dtype that it had. A plain attribute is not saved.

    Raises UsageError for a hyperparameter that its rule refuses, and for more than one parameter group: a flat step
    moves all of theta with one set of hyperparameters.
    """

    requires: ClassVar[frozenset[str]] = frozenset()
    rules: ClassVar[Mapping[str, Rule]] = {}

    def __init__(self, params: ParamsT, **hyperparameters: Any):
        super().__init__(params, hyperparameters)
        if len(self.param_groups) > 1:
            raise UsageError(f"{type(self).__name__} takes one parameter group, got {len(self.param_groups)}")
        for name in hyperparameters:
            if rule := self.rules.get(name) or COMMON.get(name):
                check(name, self.param_groups[0][name], rule)
        self.diagnostics: dict[str, float | str | Tensor] = {}
        self.register_step_pre_hook(_check_parameters)

    @property
    def hyperparameters(self) -> dict[str, Any]:
        """The settings of the parameter group. They are read at every step, so a torch scheduler on `lr` works."""
        return self.param_groups[0]

    @property
    def global_state(self) -> dict[str, Any]:
        """State of the whole vector theta, by names of the method's own; `step` is the number of the last step."""
        return cast("dict[Any, dict[str, Any]]", self.state)[GLOBAL]  # torch declares the keys to be tensors

    # To override

    def step(self, f: Objective) -> Tensor:  # type: ignore[override]  # torch's takes a closure; an objective is one
        """Move the parameters of `f` once. Returns f(theta) before the step, a scalar."""
        raise NotImplementedError

    def validate_parameters(self, space: ParameterSpace) -> None:
        """Raise UsageError for hyperparameters that do not go with these parameters. Called before any run starts.

        By default all do.
        """

    def initialize(self, f: Objective) -> None:
        """Estimate the statistics that the method needs before its first step, from `f.batches()`. By default none."""

    # To call

    def warm_start(self, f: Objective) -> None:
        """Prepare the first step: `initialize`, and a step number of 0.

        The training loop calls this before the first step and records its time apart from the steps'. Elsewhere
        `begin` does.
        """
        self.initialize(f)
        self.global_state["step"] = 0

    def begin(self, f: Objective) -> int:
        """Begin a step: the warm start if there was none. Returns the number of the step, 1, 2, ..."""
        if "step" not in self.global_state:
            self.warm_start(f)
        self.global_state["step"] += 1
        return self.global_state["step"]

    def inverses_due(self, k: int, fresh: bool) -> bool:
        """Whether step k forms its inverses again: the first step, and every `inverse_period`-th.

        With `early_inverses` also those of the first `inverse_period` steps whose statistics are new (`fresh`).
        """
        hp = self.hyperparameters
        early = fresh and hp["early_inverses"] and k <= hp["inverse_period"]
        return k == 1 or k % hp["inverse_period"] == 0 or early

    def update_momentum(self, g: Tensor, momentum: float, dampening: float = 0.0) -> Tensor:
        """m <- momentum m + (1 - dampening) g from m = 0, for g [P].

        Returns m [P]: the state `momentum` itself, which the caller must not write to.
        """
        if "momentum" not in self.global_state:
            self.global_state["momentum"] = torch.zeros_like(g)
        return self.global_state["momentum"].mul_(momentum).add_(g, alpha=1 - dampening)

    @torch.no_grad()
    def descend(self, f: Objective, p: Tensor) -> None:
        """theta <- theta - lr (p + weight_decay theta), for a direction p [P]."""
        lr, decay = self.hyperparameters["lr"], self.hyperparameters.get("weight_decay", 0.0)
        if decay:
            multi_mul_(f.space.parameters, 1 - lr * decay)
        f.space.add_(p, alpha=-lr)

    # Torch's

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As torch's, but a saved tensor keeps its dtype: torch casts it to its parameter's."""
        super().load_state_dict(state_dict)
        device = self.param_groups[0]["params"][0].device
        parameters = self.param_groups[0]["params"]
        for key, saved in state_dict["state"].items():
            owner = parameters[key] if isinstance(key, int) else key
            self.state[owner] = _restored(saved, device)


def _check_parameters(optimizer: torch.optim.Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Raises UsageError unless the optimizer was given all of the parameters that theta has."""
    f: Objective = kwargs.get("f", args[-1])
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
