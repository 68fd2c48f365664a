"""Two weights on their way over the landscape of the training loss."""

from __future__ import annotations

import itertools
from typing import Any

import torch

from sobench.errors import UsageError
from sobench.models.free import FreeLinear
from sobench.training.clock import Clock
from sobench.training.instruments.base import Instrument
from sobench.training.problem import Problem


class Trajectory(Instrument):
    """The way of a model's two free weights (model=free_mlp) over the landscape of the training loss.

    Readings: `weight/0`, `weight/1` after the last step; and once, with the first of them, `landscape/<u>/<v>`, the training
    loss where the two are u and v: a grid of `points` x `points` within `radius` of where they start, and `start/0`, `start/1`.
    Raises UsageError for a model without two free weights.
    """

    def __init__(self, problem: Problem, clock: Clock, settings: dict[str, Any]):
        super().__init__(problem, clock, settings)
        self._layer = next((m for m in problem.model.modules() if isinstance(m, FreeLinear)), None)
        if self._layer is None or len(self._layer.places) != 2:
            raise UsageError("instrument: trajectory is of two free weights; allowed: model=free_mlp model.free=2")
        self._points, self._radius = settings["instrument"]["points"], settings["instrument"]["radius"]
        self._once: dict[str, float] = {}

    @torch.no_grad()
    def begin(self) -> None:
        f, start = self._unmetered(self.problem.first_objective()).full(), self._layer.free().tolist()
        axes = [torch.linspace(w - self._radius, w + self._radius, self._points).tolist() for w in start]
        self._once = {"start/0": start[0], "start/1": start[1]}
        with self._undone():
            for u, v in itertools.product(*axes):
                self._layer.weight[tuple(self._layer.places.T)] = self._layer.weight.new_tensor([u, v])
                self._once[f"landscape/{u:.6g}/{v:.6g}"] = float(f.loss())

    def readings(self) -> dict[str, float]:
        found, self._once = self._once, {}
        u, v = self._layer.free().tolist()
        return {**found, "weight/0": u, "weight/1": v}

    def state_dict(self) -> dict[str, Any]:
        return {"once": self._once}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._once = state["once"]
