"""How far the training loss of a convex problem is from its minimum."""

from __future__ import annotations

from typing import Any

import torch

from sobench.clock import Clock
from sobench.data import Store
from sobench.instruments.base import Instrument
from sobench.optimum import LinearProblem, kept_minimum
from sobench.problem import Problem


class Optimum(Instrument):
    """At every evaluation `suboptimality`, f(theta) - f*, of the whole training set with its penalty, in double precision
    whatever the run's; and `optimum`, f* (`sobench.optimum`), which is found once and kept in the cache. Below about 1e-15 f it
    is rounding, of either sign. Raises UsageError for a model that is not linear, and where there is no optimum.
    """

    def __init__(self, problem: Problem, clock: Clock, settings: dict[str, Any]):
        super().__init__(problem, clock, settings)
        self._linear = LinearProblem.of(problem, settings["l2"])
        self._layer = LinearProblem.layer(problem.model)
        folder = Store.default(settings["data"]["mirror"], settings["data"]["cache"]).cache / "optima"
        self._minimum = kept_minimum(self._linear, folder)

    def at_evaluation(self) -> dict[str, float]:
        W = torch.cat([self._layer.weight, self._layer.bias[:, None]], 1).detach().double()
        return {"suboptimality": self._linear.value(W).item() - self._minimum, "optimum": self._minimum}
