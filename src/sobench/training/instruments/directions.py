"""The instrument `directions`: angles between the run's steps and the steps that other optimizers would take."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor

from sobench.config import groups, registry
from sobench.objective import Objective
from sobench.training.clock import Clock
from sobench.training.instruments.base import Instrument
from sobench.training.optimizer import ObjectiveOptimizer, make_optimizer
from sobench.training.problem import Problem
from sobench.training.requirements import check_declaration, check_problem, requirements_of


class Directions(Instrument):
    """The directions in which other optimizers, the companions, would step from every point of the trajectory.

    companions: {label: settings of an optimizer}. A companion steps on the run's batch from the run's parameters, which
    are then restored. It keeps its own state, built along the run's trajectory.

    Readings, of the last step: `cosine/<label>/<i>`, i = 1, ..., L, between the change that the companion makes in the
    i-th layer and the change that the run's optimizer makes. A layer is a Linear or Conv2d layer, weight and bias
    together, in the model's order. NaN if one of the changes is zero. Source: thesis, figure 4.1.

    Raises Unsupported for a companion that requires an oracle which the problem does not have.
    """

    def __init__(self, problem: Problem, clock: Clock, settings: dict[str, Any]):
        super().__init__(problem, clock, settings)
        self.companions: dict[str, ObjectiveOptimizer] = {}
        for label, companion in settings["instrument"]["companions"].items():
            cls = registry.load("optimizers", companion["name"])
            requires = requirements_of(cls)
            check_declaration(requires, settings["loss"])
            check_problem(requires, problem, clock.device, settings["longest_step"])
            optimizer = make_optimizer(cls, groups.own(companion), problem.model.parameters())
            self.companions[label] = cast(ObjectiveOptimizer, optimizer)
        self._cosines: dict[str, Tensor] = {}

    def begin(self) -> None:
        for companion in self.companions.values():
            if warm_start := getattr(companion, "warm_start", None):
                with self.problem.undone():
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

    def _move(self, companion: ObjectiveOptimizer, f: Objective) -> Tensor:
        """The change of theta [P] in one step of a companion, which is undone."""
        with self.problem.undone():
            before = f.space.get()
            companion.step(f)
            return f.space.get() - before

    def readings(self) -> dict[str, float]:
        cosines, self._cosines = self._cosines, {}
        return dict(zip(cosines, torch.stack(list(cosines.values())).tolist())) if cosines else {}

    def state_dict(self) -> dict[str, Any]:
        return {label: companion.state_dict() for label, companion in self.companions.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for label, companion in self.companions.items():
            companion.load_state_dict(state[label])
