"""Conjugate gradients (Hestenes and Stiefel 1952) for linear systems and for least squares.

`cg` is algorithm 1 of Wang and Huang, Second-order Optimization Made Practical.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from sobench.errors import UsageError
from sobench.linalg.operator import SupportsMatmul

Status = Literal["converged", "max_iterations", "negative_curvature", "not_finite"]


@dataclass(frozen=True)
class CGResult:
    """The result of `cg` or `cgls`.

    x: the last iterate, [P].
    iterations: the number of updates of x.
    residual_norm: the norm of the residual at the stop, as the function defines it.
    status: the reason for the stop. "not_finite": a NaN, an infinity or an overflow occurred; x is not a solution and
        may contain such entries.
    """

    x: Tensor
    iterations: int
    residual_norm: float
    status: Status


def cg(A: SupportsMatmul, b: Tensor, x0: Tensor | None = None, *, max_iterations: int, tol: float) -> CGResult:
    """Solve A x = b for a symmetric A [P, P] by conjugate gradients, from x0 [P] (default: zero), for b [P].

    Stops at ||r|| <= tol ||b||. This is the rule of jax.scipy.sparse.linalg.cg for the paper's "sufficiently small" in
    line 10. Stops also at a direction with p'Ap <= 0, where A is not positive definite. The result is then the current
    x, or b if it is the first direction: 1/2 x'Ax - b'x decreases from 0 along b. For b = 0 the result is 0.

    Makes one product per iteration. Synchronises with the device once before the iterations and once in each.
    Raises UsageError for arguments out of range.
    """
    check(b, x0, max_iterations, tol)
    b = b.detach()
    x, r = start(A, b, x0)
    residual, scale = torch.stack((r.dot(r), b.dot(b))).tolist()  # ||r||^2, ||b||^2
    if scale == 0:
        return CGResult(torch.zeros_like(b), 0, 0.0, "converged")

    steps, k = updates(A, x, r), 0
    while not (status := reason_to_stop(residual, tol**2 * scale, k, max_iterations)):
        next_residual, curvature = torch.stack(next(steps)).tolist()
        if curvature <= 0:
            return CGResult(b.clone() if k == 0 else x, k, math.sqrt(residual), "negative_curvature")
        residual, k = next_residual, k + 1
    return CGResult(x, k, math.sqrt(residual), status)


def cgls(A: SupportsMatmul, b: Tensor, x0: Tensor | None = None, *, max_iterations: int, tol: float) -> CGResult:
    """Minimise ||A x - b|| for a symmetric A [P, P], definite or not, from x0 [P] (default: zero), for b [P].

    Conjugate gradients on A'A x = A'b, with products A p and A r but none with A'A (Hestenes and Stiefel, section 10).
    From zero, or from another start in the range of A, x converges to A^+ b.

    Stops at ||A r|| <= tol ||A b||, with r = b - A x; residual_norm is ||A r||. Makes two products per iteration.
    Synchronises with the device once before the iterations and once in each. Raises UsageError for arguments out of
    range.
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


def start(A: SupportsMatmul, b: Tensor, x0: Tensor | None) -> tuple[Tensor, Tensor]:
    """The start x_0 [P] (default: zero) and its residual b - A x_0 [P], both as new tensors."""
    if x0 is None:
        return torch.zeros_like(b), b.clone()
    return x0.detach().clone(), b - (A @ x0).detach()


def updates(A: SupportsMatmul, x: Tensor, r: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Update x [P] and its residual r [P] in place at each turn; yield the new ||r||^2 and the curvature p'Ap, scalars.

    Leaves x and r as they are at a direction with p'Ap <= 0; the caller must not iterate further.
    """
    p, rr = r.clone(), r.dot(r)
    while True:
        Ap = (A @ p).detach()
        pAp = p.dot(Ap)
        alpha = torch.where(pAp <= 0, 0, rr / pAp)  # 0 leaves x as it is
        x.addcmul_(p, alpha)
        r.addcmul_(Ap, alpha, value=-1)
        rr, previous = r.dot(r), rr
        yield rr, pAp
        p.mul_(rr / previous).add_(r)


def reason_to_stop(residual: float, sufficiently_small: float, k: int, max_iterations: int) -> Status | None:
    """The status after k updates, or None to continue. residual: ||r||^2, compared with `sufficiently_small`."""
    if not math.isfinite(residual):
        return "not_finite"
    if residual <= sufficiently_small:
        return "converged"
    return "max_iterations" if k == max_iterations else None


def check(b: Tensor, x0: Tensor | None, max_iterations: int, tol: float) -> None:
    """Check the arguments of a conjugate gradient method. Raises UsageError for arguments out of range."""
    if b.dim() != 1 or (x0 is not None and x0.shape != b.shape):
        shapes = f"{list(b.shape)}" if x0 is None else f"{list(b.shape)} and {list(x0.shape)}"
        raise UsageError(f"cg takes vectors b and x0 of one length, got {shapes}")
    if max_iterations < 1:
        raise UsageError(f"cg takes max_iterations >= 1, got {max_iterations}")
    if not tol >= 0:
        raise UsageError(f"cg takes tol >= 0, got {tol}")
