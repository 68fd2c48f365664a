"""The steps that other optimizers would take from every point of a run's trajectory, beside its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from sobench.config import registry
from sobench.objective import Objective
from sobench.training.clock import Clock
from sobench.training.instruments.base import Instrument
from sobench.training.problem import Problem
from sobench.training.requirements import check_requirements, make_optimizer


class Directions(Instrument):
    """The directions in which other optimizers, the companions, would step from every point of the trajectory.

    companions: {label: settings of an optimizer}. Each has a state of its own, which it builds along the run's trajectory:
    it steps on the batch of the run, from the run's parameters, and they are put back. Readings, of the last step:
    cosine/<label>/<i>, i = 1, ..., L, between what the companion and the run's own optimizer did to the i-th layer, weights
    and bias together, in the model's order (Linear and Conv2d layers). NaN where one of them did not move it. Thesis,
    figure 4.1. Raises Unsupported for a companion that asks what the problem cannot answer.
    """

    def __init__(self, problem: Problem, clock: Clock, settings: dict[str, Any]):
        super().__init__(problem, clock, settings)
        self.companions: dict[str, torch.optim.Optimizer] = {}
        for label, companion in settings["instrument"]["companions"].items():
            cls = registry.load("optimizers", companion["name"])
            check_requirements(
                frozenset(getattr(cls, "requires", {"closure"})), settings["loss"], problem, clock.device
            )
            self.companions[label] = make_optimizer(cls, companion, problem.model.parameters())
        self._cosines: dict[str, Tensor] = {}

    def begin(self) -> None:
        for companion in self.companions.values():
            if warm_start := getattr(companion, "warm_start", None):
                with self._undone():
                    warm_start(self._unmetered(self.problem.first_objective()))

    @contextmanager
    def around(self, step: int, f: Objective) -> Iterator[None]:
        with self._off_the_clock():
            others = {
                label: self._move(companion, self._beside(step, f)) for label, companion in self.companions.items()
            }
            before = f.space.get()
        yield
        with self._off_the_clock():
            own = f.matrices.join(f.space.get() - before)
            for label, other in others.items():
                for i, (name, D) in enumerate(f.matrices.join(other).items(), 1):
                    self._cosines[f"cosine/{label}/{i}"] = (D * own[name]).sum() / (D.norm() * own[name].norm())

    def _move(self, companion: torch.optim.Optimizer, f: Objective) -> Tensor:
        """What a step of a companion adds to theta, [P]."""
        with self._undone():
            before = f.space.get()
            companion.step(f)
            return f.space.get() - before

    def readings(self) -> dict[str, float]:
        found, self._cosines = self._cosines, {}
        return dict(zip(found, torch.stack(list(found.values())).tolist())) if found else {}

    def state_dict(self) -> dict[str, Any]:
        return {label: companion.state_dict() for label, companion in self.companions.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for label, companion in self.companions.items():
            companion.load_state_dict(state[label])
