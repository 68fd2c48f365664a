"""Stochastic Newton-Krylov: truncated Newton steps on mini-batches that agree with the global gradient, by complex steps.

S. Shen et al., Second-order Neural Network Training Using Complex-step Directional Derivative, algorithm 1. For a mini-batch B_j
with the loss f_j, g the gradient of the whole training set:

    g_j <- gradient of f_j;  the batch is skipped if g_j.g < 0                              pre-screening, lines 4 to 8
    dw <- CG on H_j dw = -g_j from the last dw, until a negative curvature                  lines 10 to 28
    dw <- dw - (dw.g / ||g||^2) g  if dw.g > 0                                              post-screening, lines 29 to 31
    gamma <- 1, halved or times 1.5 until the Taylor ratio eta is in [0.5, 1] taylor_ratio  lines 33 to 46
    w <- w + gamma dw                                                                       line 47

`sobench.linalg.early_cg` has the loop, `sobench.linalg.linesearch.taylor` the step size, each with what was mended in its lines
of the listing. What was mended in the others:

- Line 12 calls the gradient in the residual -(g + h_i) by the global one's name. Line 11 computes it on the batch: it is g_j.
- Line 30 has dw <- (1 + dw.g / (||dw|| ||g||)) dw. The factor lies between 1 and 2 where dw.g > 0: dw climbs along g as before,
  up to twice as far; with a minus it would shrink dw and climb still. No positive factor does what the text says, "removes any
  search components along g so that dw does not cancel previous improvements and remains a global descent"; the projection does.
- dw~ of line 10 is set nowhere: it is gamma dw of the last batch that was not skipped, what w was moved by, and 0 at the first.
  (The dw before gamma is never shortened: each solve adds to it, gamma shrinks to make up for it, and training diverges.)
- A negative curvature at the first iteration ends the loop with dw = dw~, and the box goes on with that; from dw~ = 0, w stays.

Where the paper is silent. "Not small enough" (line 13) is ||r|| > cg_tol ||g_j||, for at most cg_iterations ("seldom iterates
more than 20 loops"). "Few attempts" at gamma are tries. f and E_Q in the Taylor ratio are of the mini-batch. Line 48 computes g
after every step that moves; global_period > 1 is ours, steps from one to the next. screening=false leaves both
screenings out, and g with them. full_batch is the Newton-CG of the supplement: f_j = f, and g_j = g. diagnostics: `global_share`
is the share of g in the work of the step, as metered (the supplement: 89.8% of the time).
"""

from __future__ import annotations

import torch
from torch import Tensor

from sobench.errors import Unsupported
from sobench.objective import Objective
from sobench.optim.base import SecondOrderOptimizer
from sobench.optim.newton_krylov_parts import CURVATURES, SOLVERS, STEP_RULES, without


class NewtonKrylov(SecondOrderOptimizer):
    """taylor_ratio: the paper's eta~; curvature, solver, step_rule: see `newton_krylov_parts`; h: of complex steps or forward
    differences, None for their defaults; damping: of levenberg_marquardt.

    State: `direction` gamma dw [P]; `global_gradient` g [P], its `age` in steps, and whether theta has `moved` since. Raises
    Unsupported for full_batch with BatchNorm, whose running statistics are those of mini-batches.
    """

    requires = frozenset({"value_and_grad", "loss", "curvature", "complex", "full"})

    def __init__(
        self,
        params,
        solver: str = "cg",
        damping: float = 1.0,
        cg_iterations: int = 20,
        cg_tol: float = 1e-5,
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
        self.shared.update(direction=torch.zeros_like(f.space.get()), global_gradient=None, age=0, moved=False)

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
        """Lines 10 to 47."""
        hp = self.hyperparameters
        H = CURVATURES[hp["curvature"]](f, g_j, hp["h"])
        found = SOLVERS[hp["solver"]](H, g_j, self.shared["direction"], hp)  # lines 10 to 28
        dw = without(found.x, g)  # lines 29 to 31
        size = STEP_RULES[hp["step_rule"]](
            lambda gamma: f.loss(at=theta + gamma * dw), loss, g_j, dw, H, hp
        )  # lines 33 to 46
        moved = size.gamma * dw
        f.space.assign_(theta + moved)  # line 47
        self.shared.update(direction=moved, moved=True)
        self.diagnostics |= {
            "terminated": int(found.terminated),
            "cg_iterations": found.iterations,
            "flat": found.flat,
            "tries": size.tries,
            "eta": size.eta,
            "gamma": size.gamma,
        }

    def global_gradient(self, f: Objective, g_j: Tensor) -> Tensor:
        """g [P]: computed anew after global_period steps, if theta has moved; g_j itself if that is global, and 0, which screens
        nothing, if none is to be screened."""
        hp, state = self.hyperparameters, self.shared
        if not hp["screening"]:
            return torch.zeros_like(g_j)
        if hp["full_batch"]:
            return g_j
        state["age"] += 1
        if state["global_gradient"] is None or (state["moved"] and state["age"] > hp["global_period"]):
            state.update(global_gradient=f.full().value_and_grad()[1], age=1, moved=False)
        return state["global_gradient"]
