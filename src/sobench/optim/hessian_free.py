"""Hessian-free optimization: damped Gauss-Newton steps, each by a truncated run of conjugate gradients.

J. Martens, Deep Learning via Hessian-free Optimization (2010), the HF of Y. Ren, thesis, chapter 5. At every step, on
a batch:

    B  = J^T H J / N2 + l2 I, never formed; on curvature_batch samples of the batch, or all of them
    p ~= argmin q(p) = g'p + 1/2 p'(B + lambda I) p by CG, from cg_decay times the last solution; lambda = damping + tau
         stopped where the last k of i iterations gain less than k cg_tol of q(p_i), k = max(10, i / 10)     section 4.4
    p <- the best of the iterates kept on the way, going back from the last while f falls                    section 4.6
    rho = (f(theta) - f(theta + p)) / -q(p)
    damping <- boost damping  if rho < 1/4;  drop damping  if rho > 3/4                                      section 4.1
    theta <- theta + t p,   t the first of lr, 0.8 lr, 0.8^2 lr, ... with f(theta + t p) <= f(theta) + 0.01 t g'p

The defaults are Martens' values: boost 3/2, drop 2/3, cg_tol 0.0005, at most 250 iterations, and cg_decay 0.95, which
is in his code. The next solve starts from the last iterate of CG, whichever iterate was chosen. The thesis says of its
HF only that it is this method with early termination. It gives boost 1.01, drop 0.99, tau 0.001, lr 0.1 and N2 for all
methods of its chapter; these are settings here.

Deviations and decisions. There is no preconditioner; the thesis does not mention one either. q is the damped model,
and its value at p is known from CG. A p with q(p) >= 0, after a bad start and too few iterations, counts as one that
the model does not predict. If none of 60 rates t lowers the loss enough, theta stays where it is and only the damping
changes. A loss that is NaN is never lowered: theta stays, and the returned loss ends the run as diverged.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sobench.config.rules import OPTIMIZER_RULES
from sobench.linalg.cg_descent import cg_descent
from sobench.linalg.linesearch import armijo, backtrack
from sobench.linalg.operator import LinearOperator
from sobench.linalg.trust_region import levenberg_marquardt, reduction_ratio
from sobench.objective import Objective
from sobench.optim.base import SecondOrderOptimizer
from sobench.optim.subsample import subsample


class HessianFree(SecondOrderOptimizer):
    """lr: the first rate that the line search tries; damping: lambda before the first step; curvature_batch: N2."""

    requires = frozenset({"ggn", "value_and_grad", "loss"})
    rules = OPTIMIZER_RULES["hessian_free"]

    def __init__(
        self,
        params,
        lr: float = 1.0,
        damping: float = 1.0,
        tau: float = 0.0,
        boost: float = 3 / 2,
        drop: float = 2 / 3,
        curvature_batch: int | None = None,
        cg_iterations: int = 250,
        cg_tol: float = 5e-4,
        cg_decay: float = 0.95,
    ):
        super().__init__(
            params,
            lr=lr,
            damping=damping,
            tau=tau,
            boost=boost,
            drop=drop,
            curvature_batch=curvature_batch,
            cg_iterations=cg_iterations,
            cg_tol=cg_tol,
            cg_decay=cg_decay,
        )

    def initialize(self, f: Objective) -> None:
        self.global_state["damping"] = f.space.parameters[0].new_full((), self.hyperparameters["damping"])
        self.global_state["solution"] = None

    @torch.no_grad()
    def step(self, f: Objective) -> Tensor:
        self.begin(f)
        hp, damping, theta = self.hyperparameters, self.global_state["damping"], f.space.get()
        B = _curvature(f, hp["curvature_batch"])
        loss, g = f.value_and_grad()
        start = self.global_state["solution"]
        start = None if start is None else hp["cg_decay"] * start
        iterates, status = cg_descent(
            B + (damping + hp["tau"]), -g, start, max_iterations=hp["cg_iterations"], tol=hp["cg_tol"]
        )
        best, new_loss = backtrack(lambda p: f.loss(at=theta + p), iterates)
        predicted = -best.quadratic if best.quadratic < 0 else math.nan
        rho = reduction_ratio(loss, new_loss, new_loss.new_tensor(predicted))
        t = armijo(lambda t: new_loss if t == 1 else f.loss(at=theta + t * best.x), loss, g.dot(best.x), first=hp["lr"])
        f.space.assign_(theta.add_(best.x, alpha=t))
        self.global_state["solution"] = iterates[-1].x
        self.global_state["damping"] = levenberg_marquardt(damping, rho, boost=hp["boost"], drop=hp["drop"])
        self.diagnostics = {
            "damping": damping,
            "rho": rho,
            "rate": t,
            "cg_status": status,
            "cg_iterations": iterates[-1].k,
            "cg_chosen": best.k,
        }
        return loss


def _curvature(f: Objective, count: int | None) -> LinearOperator:
    """The Gauss-Newton matrix of the batch, or of `count` samples of it."""
    index = subsample(f, count)
    part = f if index is None else f.with_batch((f.batch.inputs[index], f.batch.targets[index]))
    return part.ggn()
