"""ESGD: gradient descent preconditioned by equilibration, the norms of the Hessian's rows.

Y. N. Dauphin, H. de Vries, Y. Bengio, Equilibrated adaptive learning rates for non-convex optimization (NIPS 2015), a
baseline of Kernel SGD (section 4.1):

    D <- D + (H v)^2                                        v ~ N(0, I): E[(H v)_i^2] = ||H_i||^2
    theta <- theta - lr g / (sqrt(D / count) + damping)     count: the products so far; damping: their lambda

H is the Hessian of the mini-batch loss, including the penalty of `l2`. The paper forms a product about every 20 steps,
which is curvature_period here; with 1 there is a product at every step. D is the mean over all products with equal
weights. There is no momentum.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sobench.config.rules import OPTIMIZER_RULES
from sobench.objective import Objective
from sobench.optim.base import SecondOrderOptimizer


class ESGD(SecondOrderOptimizer):
    """curvature_period: steps from one product to the next, the first at the first step. State: `D` [P], `count`."""

    requires = frozenset({"hessian", "value_and_grad"})
    rules = OPTIMIZER_RULES["esgd"]

    def __init__(self, params, lr: float = 0.01, damping: float = 1e-4, curvature_period: int = 1):
        super().__init__(params, lr=lr, damping=damping, curvature_period=curvature_period)

    def step(self, f: Objective) -> Tensor:
        hp, k = self.hyperparameters, self.begin(f)
        if (k - 1) % hp["curvature_period"] == 0:
            self.accumulate_square(f.hessian() @ self.probe(f))
        loss, g = f.value_and_grad()
        scale = (self.global_state["D"] / self.global_state["count"]).sqrt_().add_(hp["damping"])
        self.descend(f, torch.div(g, scale, out=scale))
        return loss

    def probe(self, f: Objective) -> Tensor:
        """v ~ N(0, I), [P]."""
        p = f.space.parameters[0]
        return torch.randn(f.space.size, generator=f.generator("probe"), dtype=p.dtype, device=p.device)

    def accumulate_square(self, Hv: Tensor) -> None:
        """D <- D + (H v)^2, from D = 0."""
        if "D" not in self.global_state:
            self.global_state.update(D=torch.zeros_like(Hv), count=0)
        self.global_state["D"].addcmul_(Hv, Hv)
        self.global_state["count"] += 1
