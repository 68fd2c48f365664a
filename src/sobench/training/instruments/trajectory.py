"""The instrument `trajectory`: the path of two weights over the landscape of the training loss."""

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
    """The path of a model's two free weights (model=free_mlp) over the landscape of the training loss.

    Readings of every row: `weight/0` and `weight/1`, the weights after the last step. Readings of the first row alone:
    `start/0` and `start/1`, their initial values, and `landscape/<u>/<v>`, the training loss where the two weights are
    u and v, on a grid of `points` x `points` values within `radius` of the start. Raises UsageError for a model without
    two free weights.
    """

    def __init__(self, problem: Problem, clock: Clock, settings: dict[str, Any]):
        super().__init__(problem, clock, settings)
        layer = next((m for m in problem.model.modules() if isinstance(m, FreeLinear)), None)
        if layer is None or len(layer.places) != 2:
            raise UsageError("instrument: trajectory is of two free weights; allowed: model=free_mlp model.free=2")
        self._layer = layer
        self._points, self._radius = settings["instrument"]["points"], settings["instrument"]["radius"]
        self._once: dict[str, float] = {}

    @torch.no_grad()
    def begin(self) -> None:
        f, start = self._unmetered(self.problem.first_objective()).full(), self._layer.free().tolist()
        axes = [torch.linspace(w - self._radius, w + self._radius, self._points).tolist() for w in start]
        self._once = {"start/0": start[0], "start/1": start[1]}
        with self.problem.undone():
            for u, v in itertools.product(*axes):
                self._layer.weight[tuple(self._layer.places.T)] = self._layer.weight.new_tensor([u, v])
                self._once[f"landscape/{u:.6g}/{v:.6g}"] = float(f.loss())

    def readings(self) -> dict[str, float]:
        once, self._once = self._once, {}
        u, v = self._layer.free().tolist()
        return {**once, "weight/0": u, "weight/1": v}

    def state_dict(self) -> dict[str, Any]:
        return {"once": self._once}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._once = state["once"]
