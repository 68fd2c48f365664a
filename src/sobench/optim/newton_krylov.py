"""Stochastic Newton-Krylov: truncated Newton steps by complex steps, on batches that agree with the global gradient.

S. Shen et al., Second-order Neural Network Training Using Complex-step Directional Derivative, algorithm 1. For a
mini-batch B_j with the loss f_j, and g the gradient of the whole training set:

    g_j <- gradient of f_j;  the batch is skipped if g_j.g < 0                            pre-screening, lines 4 to 8
    dw <- CG on H_j dw = -g_j from the last dw, until a negative curvature                lines 10 to 28
    dw <- dw - (dw.g / ||g||^2) g  if dw.g > 0                                            post-screening, lines 29 to 31
    gamma <- 1, halved or times 1.5 until the ratio eta is in [0.5, 1] taylor_ratio       lines 33 to 46
    w <- w + gamma dw                                                                     line 47

The loop is in `sobench.linalg.early_cg` and the step size in `sobench.linalg.linesearch.taylor`, each with the
corrections to its lines of the listing. Corrections to the other lines:

- Line 12 calls the gradient in the residual -(g + h_i) by the name of the global one. Line 11 computes it on the
  batch: it is g_j.
- Line 30 has dw <- (1 + dw.g / (||dw|| ||g||)) dw. The factor lies between 1 and 2 where dw.g > 0, so dw climbs along
  g as before, up to twice as far. With a minus it would shrink dw, which would still climb. No positive factor does
  what the text says, "removes any search components along g so that dw does not cancel previous improvements and
  remains a global descent"; the projection does.
- dw~ of line 10 is assigned nowhere. Here it is gamma dw of the last batch that was not skipped, which is the last
  change of w, and 0 at the first batch. (The dw before gamma is never shortened: each solve adds to it, gamma shrinks
  to compensate, and training diverges.)
- A negative curvature at the first iteration ends the loop with dw = dw~, and the box continues with that. From
  dw~ = 0, w stays where it is.

Where the paper is silent. "Not small enough" (line 13) is ||r|| > cg_tol ||g_j||, for at most cg_iterations ("seldom
iterates more than 20 loops"). `tries` bounds the "few attempts" at gamma. f and E_Q in the Taylor ratio are of the
mini-batch. Line 48 computes g after every step that moves; global_period > 1, the steps from one g to the next, is
ours. early_termination=false leaves out lines 15 to 17, as the supplement does in "Early termination". screening=false
leaves out both screenings, and g with them. full_batch is the Newton-CG of the supplement: f_j = f, and g_j = g.

The paper compares three parts with alternatives, which are settings:

    curvature    CSDD and CSDD2 | autograd's products | forward differences of the gradient (supplement, "CSFD vs. FFD")
    solver       the Krylov loop of algorithm 1 | LSCG: H'H dw = -H'g | LM: that loop on H + damping I
    step_rule    the Taylor ratio | backtracking with Armijo's condition, c = 0.01, tau = 0.8 (supplement, equation 1)

diagnostics: `global_share` is the share of g in the metered work of the step (the supplement: 89.8% of the time).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from sobench.config.rules import OPTIMIZER_RULES
from sobench.errors import Unsupported
from sobench.linalg.complex_step import STEP, checked, csdd
from sobench.linalg.early_cg import Curvature, EarlyCG, early_cg
from sobench.linalg.krylov import cgls
from sobench.linalg.linesearch import Sized, armijo, taylor
from sobench.objective import Objective
from sobench.optim.base import SecondOrderOptimizer

SHRINK = 0.8
"""The tau of the backtracking line search."""


class NewtonKrylov(SecondOrderOptimizer):
    """taylor_ratio: the paper's eta~; curvature, solver, step_rule: CURVATURES, SOLVERS and STEP_RULES below; h: the
    step size of complex steps or forward differences, None for their defaults; damping: that of solver
    `levenberg_marquardt`.

    State: `direction` gamma dw [P]; `global_gradient` g [P], its `age` in steps, and whether theta has `moved` since.
    Raises Unsupported for full_batch with BatchNorm, whose running statistics are those of mini-batches.
    """

    requires = frozenset({"value_and_grad", "loss", "curvature", "complex", "full"})
    rules = OPTIMIZER_RULES["newton_krylov"]

    def __init__(
        self,
        params,
        solver: str = "cg",
        damping: float = 1.0,
        cg_iterations: int = 20,
        cg_tol: float = 1e-5,
        early_termination: bool = True,
        curvature: str = "complex_step",
        h: float | None = None,
        step_rule: str = "taylor",
        taylor_ratio: float = 0.05,
        tries: int = 20,
        screening: bool = True,
        full_batch: bool = False,
        global_period: int = 1,
    ):
        super().__init__(
            params,
            solver=solver,
            damping=damping,
            cg_iterations=cg_iterations,
            cg_tol=cg_tol,
            early_termination=early_termination,
            curvature=curvature,
            h=h,
            step_rule=step_rule,
            taylor_ratio=taylor_ratio,
            tries=tries,
            screening=screening,
            full_batch=full_batch,
            global_period=global_period,
        )

    def initialize(self, f: Objective) -> None:
        if self.hyperparameters["full_batch"] and f.network.writes_buffers:
            raise Unsupported(
                "optimizer.full_batch: the model has BatchNorm; allowed: full_batch=false, or a model without"
            )
        self.global_state.update(direction=torch.zeros_like(f.space.get()), global_gradient=None, age=0, moved=False)

    @torch.no_grad()
    def step(self, f: Objective) -> Tensor:
        self.begin(f)
        hp, theta, work = self.hyperparameters, f.space.get(), f.cost.passes
        f = f.full() if hp["full_batch"] else f
        loss, g_j = f.value_and_grad()  # line 4
        local = f.cost.passes
        g = self.global_gradient(f, g_j)  # lines 1 and 48
        global_work = f.cost.passes - local
        skipped = bool(g_j.dot(g) < 0)
        self.diagnostics = {"skipped": int(skipped)}
        if not skipped:  # lines 5 to 8
            self.move(f, theta, loss, g_j, g)
        self.diagnostics["global_share"] = global_work / (f.cost.passes - work)
        return loss

    def move(self, f: Objective, theta: Tensor, loss: Tensor, g_j: Tensor, g: Tensor) -> None:
        """Solve for dw and move theta by gamma dw, lines 10 to 47; g_j and g [P], loss f_j(theta)."""
        hp = self.hyperparameters
        H = CURVATURES[hp["curvature"]](f, g_j, hp["h"])
        solution = SOLVERS[hp["solver"]](H, g_j, self.global_state["direction"], hp)  # lines 10 to 28
        dw = without(solution.x, g)  # lines 29 to 31
        size = STEP_RULES[hp["step_rule"]](
            lambda gamma: f.loss(at=theta + gamma * dw), loss, g_j, dw, H, hp
        )  # lines 33 to 46
        moved = size.gamma * dw
        f.space.assign_(theta + moved)  # line 47
        self.global_state.update(direction=moved, moved=True)
        self.diagnostics |= {
            "terminated": int(solution.terminated),
            "cg_iterations": solution.iterations,
            "flat": solution.flat,
            "tries": size.tries,
            "eta": size.eta,
            "gamma": size.gamma,
        }

    def global_gradient(self, f: Objective, g_j: Tensor) -> Tensor:
        """g [P]: computed again after global_period steps, if theta has moved.

        If f_j is the whole training set, g is g_j. Without screening g is 0, which screens nothing.
        """
        hp, state = self.hyperparameters, self.global_state
        if not hp["screening"]:
            return torch.zeros_like(g_j)
        if hp["full_batch"]:
            return g_j
        state["age"] += 1
        g = state["global_gradient"]
        if g is None or (state["moved"] and state["age"] > hp["global_period"]):
            g = f.full().value_and_grad()[1]
            state.update(global_gradient=g, age=1, moved=False)
        return g


# curvature: the Hessian of f at the model's parameters, g [P] being the gradient there


class ComplexStep:
    """Complex steps of size h: a product is a complex gradient, a curvature a complex loss."""

    def __init__(self, f: Objective, g: Tensor, h: float | None):
        self.f, self.theta, self.h = f, f.space.get(), STEP if h is None else h

    def along(self, p: Tensor) -> Tensor:
        return self.f.curvature(p, self.h)

    def __matmul__(self, p: Tensor) -> Tensor:
        return csdd(lambda theta: self.f.value_and_grad(theta)[1], self.theta, p, self.h)


class Products:
    """Hessian products alone. The one that gave the last curvature is kept, as it is asked for next."""

    def __init__(self, multiply: Callable[[Tensor], Tensor]):
        self.multiply = multiply
        self.last: tuple[Tensor, Tensor] | None = None

    def along(self, p: Tensor) -> Tensor:
        self.last = p, self.multiply(p)
        return p.dot(self.last[1])

    def __matmul__(self, p: Tensor) -> Tensor:
        return self.last[1] if self.last is not None and p is self.last[0] else self.multiply(p)


def autograd(f: Objective, g: Tensor, h: float | None) -> Products:
    """Exact, and without h."""
    H = f.hessian()
    return Products(lambda p: H @ p)


def forward_difference(f: Objective, g: Tensor, h: float | None) -> Products:
    """(g(theta + hp) - g) / h; h: the root of the rounding unit unless given."""
    theta = f.space.get()
    h = checked(theta, h, 1 / 2)
    return Products(lambda p: (f.value_and_grad(theta + h * p)[1] - g) / h)


CURVATURES: dict[str, Callable[[Objective, Tensor, float | None], Curvature]] = {
    "complex_step": ComplexStep,
    "autograd": autograd,
    "forward_difference": forward_difference,
}


# solver: H dw = -g, from the last dw


class Damped:
    """H + damping I."""

    def __init__(self, H: Curvature, damping: float):
        self.H, self.damping = H, damping

    def along(self, p: Tensor) -> Tensor:
        return self.H.along(p) + self.damping * p.dot(p)

    def __matmul__(self, p: Tensor) -> Tensor:
        return (self.damping * p).add_(self.H @ p)


def cg(H: Curvature, g: Tensor, start: Tensor, hp: dict[str, Any]) -> EarlyCG:
    """The Krylov loop of algorithm 1."""
    return early_cg(
        H,
        g,
        start,
        max_iterations=hp["cg_iterations"],
        tol=hp["cg_tol"],
        early_termination=hp["early_termination"],
    )


def lscg(H: Curvature, g: Tensor, start: Tensor, hp: dict[str, Any]) -> EarlyCG:
    """Least squares: H is squared, so no curvature is negative and nothing ends the loop early."""
    solution = cgls(H, -g, start, max_iterations=hp["cg_iterations"], tol=hp["cg_tol"])
    return EarlyCG(solution.x, solution.iterations, terminated=False, flat=0)


def levenberg_marquardt(H: Curvature, g: Tensor, start: Tensor, hp: dict[str, Any]) -> EarlyCG:
    """CG on H + damping I. A direction of curvature below -damping of H still ends the loop."""
    return cg(Damped(H, hp["damping"]), g, start, hp)


SOLVERS: dict[str, Callable[[Curvature, Tensor, Tensor, dict[str, Any]], EarlyCG]] = {
    "cg": cg,
    "lscg": lscg,
    "levenberg_marquardt": levenberg_marquardt,
}


# step_rule: gamma

Along = Callable[[float], Tensor]
"""gamma -> f(theta + gamma dw). The rules also take f(theta) as `loss`."""


def taylor_ratio(along: Along, loss: Tensor, g: Tensor, dw: Tensor, H: Curvature, hp: dict[str, Any]) -> Sized:
    """The Taylor ratio."""
    return taylor(along, loss, g.dot(dw), H.along(dw), ratio=hp["taylor_ratio"], tries=hp["tries"])


def backtracking(along: Along, loss: Tensor, g: Tensor, dw: Tensor, H: Curvature, hp: dict[str, Any]) -> Sized:
    """Backtracking. gamma = 0 where no try lowers the loss enough; there is no Taylor ratio."""
    gamma = armijo(along, loss, g.dot(dw), shrink=SHRINK, trials=hp["tries"] + 1)
    tries = round(math.log(gamma, SHRINK)) if gamma else hp["tries"]
    return Sized(gamma, math.nan, tries)


STEP_RULES: dict[str, Callable[..., Sized]] = {"taylor": taylor_ratio, "backtracking": backtracking}


def without(x: Tensor, g: Tensor) -> Tensor:
    """x - max(0, x.g) / ||g||^2 g, [P]: x itself where it does not climb along g, or g = 0."""
    climb, gg = x.dot(g), g.dot(g)
    return x - torch.where((climb > 0) & (gg > 0), climb / gg, 0) * g
