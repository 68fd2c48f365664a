"""Newton's method with the exact Hessian, plain and damped.

Z. Wang and M. Huang, Second-order Optimization Made Practical for Deep Learning, equations 1 and 2:

    w <- w - lr (H + damping I)^-1 g             H = Hessian of the mini-batch loss at w, [P, P], formed densely

The paper does not say what happens where the matrix is singular, as H is for every mini-batch of a network with dead
inputs. Here an invertible matrix is inverted, also if it is indefinite, and the pseudo-inverse (least squares, minimum
norm) stands for the inverse of a singular one. `diagnostics["solve"]` names the case. A matrix that is not finite
gives a step that is not, and so a diverged run. The paper keeps damping fixed; its "lambda = 0.5" for all methods
means alpha, our lr.
"""

from __future__ import annotations

from torch import Tensor

from sobench.config.rules import OPTIMIZER_RULES
from sobench.linalg.dense import solve_symmetric
from sobench.objective import Objective
from sobench.optim.base import SecondOrderOptimizer


class DampedNewton(SecondOrderOptimizer):
    """lr: the paper's alpha; damping: its lambda, 32 in its experiments."""

    requires = frozenset({"hessian", "dense", "value_and_grad"})
    rules = OPTIMIZER_RULES["damped_newton"]

    def __init__(self, params, lr: float = 0.5, damping: float = 32.0):
        super().__init__(params, lr=lr, damping=damping)

    def step(self, f: Objective) -> Tensor:
        lr, damping = self.hyperparameters["lr"], self.hyperparameters["damping"]
        H = (f.hessian() + damping).dense()
        loss, g = f.value_and_grad()
        solution = solve_symmetric(H, g)
        f.space.assign_(f.space.get() - lr * solution.x)
        self.diagnostics = {"solve": solution.outcome}
        return loss


class Newton(DampedNewton):
    """lr: the paper's alpha. No damping: equation 1."""

    rules = OPTIMIZER_RULES["newton"]

    def __init__(self, params, lr: float = 0.5):
        super().__init__(params, lr=lr, damping=0.0)
