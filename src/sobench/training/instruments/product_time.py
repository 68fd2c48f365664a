"""The instrument `product_time`: the time of a Hessian-vector product by complex step, autograd and differences."""

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

Product = Callable[[Objective, torch.Tensor], torch.Tensor]

PRODUCTS: dict[str, Product] = {
    "complex_step": lambda f, p: complex_hessian(f) @ p,
    "autograd": lambda f, p: f.hessian() @ p,
    "forward_difference": lambda f, p: forward_product(lambda at: f.value_and_grad(at)[1], f.space.get(), p),
    "gradient": lambda f, p: f.value_and_grad()[1],
}
"""The timed functions of (f, p): a product with all the passes that it needs, and a gradient for comparison."""


class ProductTime(Instrument):
    """The time of Hp on the first batch, p being its gradient, for each function of PRODUCTS.

    Readings, in the first row of the record: `product_seconds/<function>`, the median over `repeats` rounds, in
    seconds. The functions take turns, so that a disturbance of the machine affects all of them.
    """

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
                times[name].append(self._seconds(product, f.on(f.batch), p))
        return {f"product_seconds/{name}": statistics.median(seconds[1:]) for name, seconds in times.items()}

    def _seconds(self, product: Product, f: Objective, p: torch.Tensor) -> float:
        """The wall seconds of one call of `product`."""
        clock = Clock(self.clock.device)
        clock.start()
        product(f, p)
        clock.stop()
        return clock.seconds

    def state_dict(self) -> dict[str, Any]:
        return {"due": self._due}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._due = state["due"]
