"""How long a Hessian-vector product takes, by complex step, by automatic differentiation and by a difference of gradients."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

import torch

from sobench.linalg.complex_step import forward_product
from sobench.objective import Objective
from sobench.objective.complex_oracles import complex_hessian
from sobench.training.clock import Clock
from sobench.training.instruments.base import Instrument
from sobench.training.problem import Problem

PRODUCTS: dict[str, Callable[[Objective, torch.Tensor], torch.Tensor]] = {
    "complex_step": lambda f, p: complex_hessian(f) @ p,
    "autograd": lambda f, p: f.hessian() @ p,
    "forward_difference": lambda f, p: forward_product(lambda at: f.value_and_grad(at)[1], f.space.get(), p),
    "gradient": lambda f, p: f.value_and_grad()[1],
}
"""What is timed, from the parameters on: a product with all passes that it needs; and a gradient, to compare with."""


class ProductTime(Instrument):
    """Readings, with the first row of the record: `product_seconds/<how>`, the median over `repeats` of the time of Hp, p the
    gradient, on the batch; the ways take turns, so that a disturbance meets all of them."""

    def __init__(self, problem: Problem, clock: Clock, settings: dict[str, Any]):
        super().__init__(problem, clock, settings)
        self._repeats, self._due = settings["instrument"]["repeats"], True

    def readings(self) -> dict[str, float]:
        if not self._due:
            return {}
        self._due = False
        f = self._unmetered(self.problem.first_objective())
        p = f.value_and_grad()[1]
        times: dict[str, list[float]] = {name: [] for name in PRODUCTS}
        for _ in range(self._repeats + 1):  # the first round warms up
            for name, product in PRODUCTS.items():
                times[name].append(self._seconds(lambda: product(f.on(f.batch), p)))
        return {f"product_seconds/{name}": statistics.median(found[1:]) for name, found in times.items()}

    def _seconds(self, work: Callable[[], torch.Tensor]) -> float:
        clock = Clock(self.clock.device)
        clock.start()
        work()
        clock.stop()
        return clock.seconds

    def state_dict(self) -> dict[str, Any]:
        return {"due": self._due}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._due = state["due"]
