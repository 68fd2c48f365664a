"""Conjugate gradients (Hestenes and Stiefel 1952), for a system and for its least squares.

cg is algorithm 1 of Wang and Huang, Second-order Optimization Made Practical.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from sobench.errors import UsageError

Status = Literal["converged", "max_iterations", "negative_curvature", "not_finite"]


@dataclass(frozen=True)
class CGResult:
    """x [P]; iterations: the updates of x made; residual_norm: of the residual r_k when the method stopped.

    status: why it stopped. "not_finite": it met a NaN, an infinity or an overflow; x is no solution and may have them.
    """

    x: Tensor
    iterations: int
    residual_norm: float
    status: Status


def cg(A, b: Tensor, x0: Tensor | None = None, *, max_iterations: int, tol: float) -> CGResult:
    """Solve A x = b for a symmetric A, by the conjugate gradient method from x0 (zero unless given).

    A: anything with A @ v. b, x0: [P]. Line 10's "sufficiently small" is ||r|| <= tol ||b||, the rule of
    jax.scipy.sparse.linalg.cg. A direction with p'Ap <= 0 stops the method, A is not positive definite: the x so far is
    returned, or, where it is the first direction, b, along which 1/2 x'Ax - b'x descends from 0. b = 0 gives 0.
    The device is read once before the iterations and once in each. Raises UsageError for arguments out of range.
    """
    check(b, x0, max_iterations, tol)
    b = b.detach()
    x, r = start(A, b, x0)
    residual, scale = torch.stack((r.dot(r), b.dot(b))).tolist()  # ||r||^2, ||b||^2
    if scale == 0:
        return CGResult(torch.zeros_like(b), 0, 0.0, "converged")

    turns, k = updates(A, x, r), 0
    while not (status := reason_to_stop(residual, tol**2 * scale, k, max_iterations)):
        reached, curvature = torch.stack(next(turns)).tolist()
        if curvature <= 0:
            return CGResult(b.clone() if k == 0 else x, k, math.sqrt(residual), "negative_curvature")
        residual, k = reached, k + 1
    return CGResult(x, k, math.sqrt(residual), status)


def cgls(A, b: Tensor, x0: Tensor | None = None, *, max_iterations: int, tol: float) -> CGResult:
    """Minimise ||A x - b|| for a symmetric A, definite or not: conjugate gradients on A'A x = A'b, which forms A p and A r and
    never A'A p (Hestenes and Stiefel, section 10). From zero, or another start in A's range, x goes to the pseudo-inverse's.

    Two products an iteration. Stops at ||A r|| <= tol ||A b||, r = b - A x; residual_norm is ||A r||. The device is read once
    before the iterations and once in each. Raises UsageError for arguments out of range.
    """
    check(b, x0, max_iterations, tol)
    x, r = start(A, b.detach(), x0)
    s, Ab = (A @ r).detach(), (A @ b).detach()
    ss, p, k = s.dot(s), s, 0
    residual, scale = torch.stack((ss, Ab.dot(Ab))).tolist()
    while not (status := reason_to_stop(residual, tol**2 * scale, k, max_iterations)):
        Ap = (A @ p).detach()
        alpha = ss / Ap.dot(Ap)
        x.addcmul_(p, alpha)
        r.addcmul_(Ap, alpha, value=-1)
        s = (A @ r).detach()
        ss, previous = s.dot(s), ss
        p = s + ss / previous * p
        residual, k = ss.item(), k + 1
    return CGResult(x, k, math.sqrt(residual), status)


def start(A, b: Tensor, x0: Tensor | None) -> tuple[Tensor, Tensor]:
    """x_0, zero unless given, and its residual b - A x_0: tensors of their own."""
    if x0 is None:
        return torch.zeros_like(b), b.clone()
    return x0.detach().clone(), b - (A @ x0).detach()


def updates(A, x: Tensor, r: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Update x and its residual r in place, once a turn: ||r||^2 then, and the curvature p'Ap of the direction taken.

    A direction of p'Ap <= 0 is not taken; whoever asks should ask no more.
    """
    p, rr = r.clone(), r.dot(r)
    while True:
        Ap = (A @ p).detach()
        pAp = p.dot(Ap)
        alpha = torch.where(pAp <= 0, 0, rr / pAp)  # 0: the step that is not to be made leaves x as it is
        x.addcmul_(p, alpha)
        r.addcmul_(Ap, alpha, value=-1)
        rr, previous = r.dot(r), rr
        yield rr, pAp
        p.mul_(rr / previous).add_(r)


def reason_to_stop(residual: float, sufficiently_small: float, k: int, max_iterations: int) -> Status | None:
    """After k updates, residual being ||r||^2; None to go on."""
    if not math.isfinite(residual):
        return "not_finite"
    if residual <= sufficiently_small:
        return "converged"
    return "max_iterations" if k == max_iterations else None


def check(b: Tensor, x0: Tensor | None, max_iterations: int, tol: float) -> None:
    """Raises UsageError for arguments out of range."""
    if b.dim() != 1 or (x0 is not None and x0.shape != b.shape):
        shapes = f"{list(b.shape)}" if x0 is None else f"{list(b.shape)} and {list(x0.shape)}"
        raise UsageError(f"cg takes vectors b and x0 of one length, got {shapes}")
    if max_iterations < 1:
        raise UsageError(f"cg takes max_iterations >= 1, got {max_iterations}")
    if not tol >= 0:
        raise UsageError(f"cg takes tol >= 0, got {tol}")
