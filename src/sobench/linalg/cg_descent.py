"""Conjugate gradients as a descent method, stopped when it makes little progress; iterates are kept on the way.

J. Martens, Deep Learning via Hessian-free Optimization (2010), sections 4.4 and 4.6.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from sobench.linalg.krylov import Status, check, reason_to_stop, start, updates

GROWTH = 1.3
"""Kept are the iterates after 1.3^j updates, rounded up (section 4.6), and the last."""


@dataclass(frozen=True)
class Iterate:
    """x [P] after k updates; quadratic: q(x) = 1/2 x'Ax - b'x there."""

    x: Tensor
    k: int
    quadratic: float


def cg_descent(
    A, b: Tensor, x0: Tensor | None = None, *, max_iterations: int, tol: float
) -> tuple[list[Iterate], Status]:
    """Minimise q(x) = 1/2 x'Ax - b'x from x0 (zero unless given), A positive definite. The iterates kept, the last among them.

    Stops after i updates where i > k, q(x_i) < 0 and (q(x_i) - q(x_{i-k})) / q(x_i) < k tol, with k = max(10, i / 10) rounded
    up (section 4.4), or where the residual is rounding: ||r|| <= eps ||b||. A direction with p'Ap <= 0 stops it too, and is not
    taken. The device is read as by `cg`; b = 0 gives x0. Raises UsageError for arguments out of range.
    """
    check(b, x0, max_iterations, tol)
    b = b.detach()
    x, r = start(A, b, x0)
    residual, scale, value = torch.stack((r.dot(r), b.dot(b), _quadratic(x, b, r))).tolist()
    rounding, due = torch.finfo(b.dtype).eps ** 2 * scale, _due(max_iterations)

    turns, values, kept, k = updates(A, x, r), [value], [], 0
    while not (status := reason_to_stop(residual, rounding, k, max_iterations) or _little_progress(values, tol)):
        rr, pAp = next(turns)
        reached, curvature, value = torch.stack((rr, pAp, _quadratic(x, b, r))).tolist()
        if curvature <= 0:
            status = "negative_curvature"
            break
        residual, k = reached, k + 1
        values.append(value)
        if k in due:
            kept.append(Iterate(x.clone(), k, value))
    if not kept or kept[-1].k < k:
        kept.append(Iterate(x, k, values[-1]))
    return kept, status


def _quadratic(x: Tensor, b: Tensor, r: Tensor) -> Tensor:
    """q(x), from the residual r = b - A x."""
    return -0.5 * x.dot(b + r)


def _little_progress(values: list[float], tol: float) -> Status | None:
    """Whether the last k of the values q(x_0), ..., q(x_i) gained less than k tol of the whole."""
    i = len(values) - 1
    k = max(10, math.ceil(i / 10))
    return "converged" if i > k and values[i] < 0 and (values[i] - values[i - k]) / values[i] < k * tol else None


def _due(max_iterations: int) -> set[int]:
    return {math.ceil(GROWTH**j) for j in range(math.ceil(math.log(max_iterations, GROWTH)) + 1)}
