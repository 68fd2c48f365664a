"""Conjugate gradients as a descent method: stops at little progress and returns some of its iterates.

J. Martens, Deep Learning via Hessian-free Optimization (2010), sections 4.4 and 4.6.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from sobench.linalg.krylov import Status, check, reason_to_stop, start, updates
from sobench.linalg.operator import SupportsMatmul

GROWTH = 1.3
"""The iterates after 1.3^j updates, rounded up, are returned (section 4.6), and the last one."""


@dataclass(frozen=True)
class Iterate:
    """x [P] after k updates, and quadratic: the value q(x) = 1/2 x'Ax - b'x."""

    x: Tensor
    k: int
    quadratic: float


def cg_descent(
    A: SupportsMatmul, b: Tensor, x0: Tensor | None = None, *, max_iterations: int, tol: float
) -> tuple[list[Iterate], Status]:
    """Minimise q(x) = 1/2 x'Ax - b'x for a positive definite A [P, P], from x0 [P] (default: zero), for b [P].

    Returns the selected iterates (see GROWTH), the last iterate at the end, and the reason for the stop.

    Stops after i updates if i > k, q(x_i) < 0 and (q(x_i) - q(x_{i-k})) / q(x_i) < k tol, with k = max(10, i / 10)
    rounded up (section 4.4). Stops also if the residual is of the size of rounding, ||r|| <= eps ||b||, and at a
    direction with p'Ap <= 0, along which x is not moved. For b = 0 the result is x0.

    Makes one product per iteration. Synchronises with the device once before the iterations and once in each. Raises
    UsageError for arguments out of range.
    """
    check(b, x0, max_iterations, tol)
    b = b.detach()
    x, r = start(A, b, x0)
    scratch = torch.empty_like(b)
    residual, scale, value = torch.stack((r.dot(r), b.dot(b), _quadratic(x, b, r, scratch))).tolist()
    rounding, due = torch.finfo(b.dtype).eps ** 2 * scale, _due(max_iterations)

    steps, values, iterates, k = updates(A, x, r), [value], [], 0
    while not (status := reason_to_stop(residual, rounding, k, max_iterations) or _little_progress(values, tol)):
        rr, pAp = next(steps)
        next_residual, curvature, value = torch.stack((rr, pAp, _quadratic(x, b, r, scratch))).tolist()
        if curvature <= 0:
            status = "negative_curvature"
            break
        residual, k = next_residual, k + 1
        values.append(value)
        if k in due:
            iterates.append(Iterate(x.clone(), k, value))
    if not iterates or iterates[-1].k < k:
        iterates.append(Iterate(x, k, values[-1]))
    return iterates, status


def _quadratic(x: Tensor, b: Tensor, r: Tensor, scratch: Tensor) -> Tensor:
    """q(x), a scalar, from the residual r = b - A x; overwrites scratch [P]."""
    return -0.5 * x.dot(torch.add(b, r, out=scratch))


def _little_progress(values: list[float], tol: float) -> Status | None:
    """The status "converged" if the last k of the values q(x_0), ..., q(x_i) gained less than k tol of the whole."""
    i = len(values) - 1
    k = max(10, math.ceil(i / 10))
    return "converged" if i > k and values[i] < 0 and (values[i] - values[i - k]) / values[i] < k * tol else None


def _due(max_iterations: int) -> set[int]:
    """The numbers of updates whose iterates are returned."""
    return {math.ceil(GROWTH**j) for j in range(math.ceil(math.log(max_iterations, GROWTH)) + 1)}
