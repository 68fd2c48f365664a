"""Hessian-free Newton and Gauss-Newton: the damped system solved by conjugate gradients, without forming a matrix.

Z. Wang and M. Huang, Second-order Optimization Made Practical for Deep Learning, algorithms 1 and 2, sections 3.3 and
3.4:

    p <- CG-Minimize(B + damping I, g)         B = the Hessian, or J^T H_z J, of the mini-batch loss (equations 5 and 8)
    w <- w - lr p

Algorithm 1 stops when "r is sufficiently small" and gives no number. Here it stops at ||r|| <= cg_tol ||g||, with
cg_tol 1e-5, the rule and the default of the CG in the authors' framework (JAX). Each solve starts from zero.

Where the damped matrix is indefinite, CG meets a direction of negative curvature and stops. The step is then the
iterate so far, or g itself at the first iteration, and `diagnostics["cg_status"]` says so.
"""

from __future__ import annotations

from torch import Tensor

from sobench.config.rules import OPTIMIZER_RULES
from sobench.linalg.krylov import cg
from sobench.linalg.operator import LinearOperator
from sobench.objective import Objective
from sobench.optim.base import SecondOrderOptimizer


class HessianFreeNewton(SecondOrderOptimizer):
    """lr: the paper's alpha; damping: its lambda, 32 in its experiments; cg_iterations: the most of one step."""

    requires = frozenset({"hessian", "value_and_grad"})
    rules = OPTIMIZER_RULES["hf_newton"]

    def __init__(self, params, lr: float = 0.5, damping: float = 32.0, cg_iterations: int = 100, cg_tol: float = 1e-5):
        super().__init__(params, lr=lr, damping=damping, cg_iterations=cg_iterations, cg_tol=cg_tol)

    def curvature(self, f: Objective) -> LinearOperator:
        """B [P, P], without damping."""
        return f.hessian()

    def step(self, f: Objective) -> Tensor:
        hp = self.hyperparameters
        B = self.curvature(f)
        loss, g = f.value_and_grad()
        solution = cg(B + hp["damping"], g, max_iterations=hp["cg_iterations"], tol=hp["cg_tol"])
        f.space.assign_(f.space.get() - hp["lr"] * solution.x)
        self.diagnostics = {"cg_iterations": solution.iterations, "cg_status": solution.status}
        return loss


class HessianFreeGaussNewton(HessianFreeNewton):
    """As HessianFreeNewton with the generalised Gauss-Newton matrix; the paper's damping is 4."""

    requires = frozenset({"ggn", "value_and_grad"})
    rules = OPTIMIZER_RULES["hf_gauss_newton"]

    def __init__(self, params, lr: float = 0.5, damping: float = 4.0, cg_iterations: int = 100, cg_tol: float = 1e-5):
        super().__init__(params, lr=lr, damping=damping, cg_iterations=cg_iterations, cg_tol=cg_tol)

    def curvature(self, f: Objective) -> LinearOperator:
        return f.ggn()
