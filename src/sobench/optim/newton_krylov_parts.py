"""What the stochastic Newton-Krylov method is made of, and what the paper compares each part with.

curvature    CSDD and CSDD2 | autograd's products | forward differences of the gradient (supplement, "CSFD vs. FFD")
solver       the Krylov loop of algorithm 1 | LSCG: H'H dw = -H'g | LM: that loop on H + damping I
step_rule    the Taylor ratio | backtracking with Armijo's condition, c = 0.01, tau = 0.8 (supplement, equation 1)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from sobench.linalg.complex_step import STEP, checked, csdd
from sobench.linalg.early_cg import Curvature, EarlyCG, early_cg
from sobench.linalg.krylov import cgls
from sobench.linalg.linesearch import Sized, armijo, taylor
from sobench.objective import Objective

SHRINK = 0.8
"""The backtracking line search's tau."""


# The Hessian of f at the model's parameters, g being the gradient there


class ComplexStep:
    """By complex steps of h: a product is a complex gradient, a curvature a complex loss."""

    def __init__(self, f: Objective, g: Tensor, h: float | None):
        self.f, self.theta, self.h = f, f.space.get(), STEP if h is None else h

    def along(self, p: Tensor) -> Tensor:
        return self.f.curvature(p, self.h)

    def __matmul__(self, p: Tensor) -> Tensor:
        return csdd(lambda theta: self.f.value_and_grad(theta)[1], self.theta, p, self.h)


class Products:
    """By products alone: that of the last direction whose curvature was asked is kept, for it will be asked for too."""

    def __init__(self, multiply: Callable[[Tensor], Tensor]):
        self.multiply, self.last = multiply, (None, None)

    def along(self, p: Tensor) -> Tensor:
        self.last = p, self.multiply(p)
        return p.dot(self.last[1])

    def __matmul__(self, p: Tensor) -> Tensor:
        last, product = self.last
        return product if p is last else self.multiply(p)


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


# H dw = -g, from the last dw


class Damped:
    """H + damping I."""

    def __init__(self, H: Curvature, damping: float):
        self.H, self.damping = H, damping

    def along(self, p: Tensor) -> Tensor:
        return self.H.along(p) + self.damping * p.dot(p)

    def __matmul__(self, p: Tensor) -> Tensor:
        return self.H @ p + self.damping * p


def cg(H: Curvature, g: Tensor, start: Tensor, hp: dict[str, Any]) -> EarlyCG:
    return early_cg(H, g, start, max_iterations=hp["cg_iterations"], tol=hp["cg_tol"])


def lscg(H: Curvature, g: Tensor, start: Tensor, hp: dict[str, Any]) -> EarlyCG:
    """Any curvature is as good as its opposite here: nothing ends it early."""
    found = cgls(H, -g, start, max_iterations=hp["cg_iterations"], tol=hp["cg_tol"])
    return EarlyCG(found.x, found.iterations, terminated=False, flat=0)


def levenberg_marquardt(H: Curvature, g: Tensor, start: Tensor, hp: dict[str, Any]) -> EarlyCG:
    """A direction of curvature below -damping still ends it."""
    return cg(Damped(H, hp["damping"]), g, start, hp)


SOLVERS: dict[str, Callable[[Curvature, Tensor, Tensor, dict[str, Any]], EarlyCG]] = {
    "cg": cg,
    "lscg": lscg,
    "levenberg_marquardt": levenberg_marquardt,
}


# How far along dw; along: gamma -> f(theta + gamma dw), loss: f(theta)


Along = Callable[[float], Tensor]


def taylor_ratio(along: Along, loss: Tensor, g: Tensor, dw: Tensor, H: Curvature, hp: dict[str, Any]) -> Sized:
    return taylor(along, loss, g.dot(dw), H.along(dw), ratio=hp["taylor_ratio"], tries=hp["tries"])


def backtracking(along: Along, loss: Tensor, g: Tensor, dw: Tensor, H: Curvature, hp: dict[str, Any]) -> Sized:
    """gamma = 0 where no try will do; there is no Taylor ratio."""
    gamma = armijo(along, loss, g.dot(dw), shrink=SHRINK, trials=hp["tries"] + 1)
    made = round(math.log(gamma, SHRINK)) if gamma else hp["tries"]
    return Sized(gamma, math.nan, made)


STEP_RULES: dict[str, Callable[..., Sized]] = {"taylor": taylor_ratio, "backtracking": backtracking}


def without(x: Tensor, g: Tensor) -> Tensor:
    """x - max(0, x.g) / ||g||^2 g, [P]: x itself where it does not climb along g, or g = 0."""
    climb, gg = x.dot(g), g.dot(g)
    return x - torch.where((climb > 0) & (gg > 0), climb / gg, 0) * g
