"""The exact global minimum of the anisotropic cubic model: the solution of its equation with the largest ||D eta||.

P. Wolinski, section 5.1, equation 10: the stationary points of

    T(eta) = -eta'g + eta'H eta / 2 + (lambda / 6) ||D eta||^3            H [S, S] symmetric, D >= 0 diagonal

are the solutions of (H + (lambda / 2) ||D eta|| D^2) eta = g, and the step is the one with the largest norm ||D eta||.
The paper leaves the scalar equation to an appendix. It follows from y = D eta. With D > 0,

    A = D^-1 H D^-1 = Q diag(a) Q',    c = Q' D^-1 g,    Q'y = c_i / (a_i + lambda r / 2),    r = ||y||

so that r is a root of r^2 = sum_i c_i^2 / (a_i + lambda r / 2)^2. Beyond r_0 = max(0, -2 a_min / lambda) the right side
falls and the left side rises. There is one root beyond r_0, and no root is larger. At this root the matrix of the model
is positive semi-definite, so it is the global minimum of the model.

- positive:   a_min > 0, r_0 = 0.
- singular:   a_min = 0, up to rounding.
- indefinite: a_min < 0: the root lies beyond r_0 > 0.
- hard:       a_min < 0, and g has no component along its eigenvector q. There may be no root beyond r_0, and at r_0 the
              matrix is singular. y then has the multiple of q that makes ||y|| = r_0. The implementation replaces this
              component of g by one of the size of rounding, with its own sign (or +), which gives this y.
- D_i = 0:    the model is quadratic in z, the eta_i with D_i = 0. z is eliminated, z = H_zz^+ (g_z - H_zx x), and the
              Schur complement replaces H for the others. `free` counts these i. For D = 0 or lambda = 0 the result is
              eta = H^+ g, Newton's step.

The root is found by Newton's method on 1/r(s) - 1/||y(s)||, s = r - r_0, which is concave and increasing. It starts
from the largest root of the single terms, |c_i| = r (a_i + lambda r / 2), which lies left of the root. The iterates
increase to the root and converge quadratically (the secular equation of trust regions: More and Sorensen, 1983).
Nothing synchronises with the device.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

ITERATIONS = 30
"""Newton steps. Each doubles the correct digits; from a start within a factor of sqrt(S) fewer than ten are needed."""


class CubicSolution(NamedTuple):
    """The minimum of the cubic model.

    eta: the step, [S].
    r: ||D eta||, a scalar.
    a_min: the smallest eigenvalue of D^-1 H D^-1, over the i with D_i > 0; a scalar.
    branches: for each branch a 0-dim tensor, 1 if it applies and 0 otherwise.
    free: the number of i with D_i = 0, a scalar.
    """

    eta: Tensor
    r: Tensor
    a_min: Tensor
    branches: dict[str, Tensor]
    free: Tensor


def minimise_cubic(H: Tensor, g: Tensor, D: Tensor, damping: float) -> CubicSolution:
    """Minimise the cubic model for H [S, S] symmetric, g [S], D [S] >= 0 and damping, the paper's lambda_int >= 0.

    Computes in the precision of the arguments; float64 is recommended. All of eta is NaN if an argument is not finite.
    """
    finite = H.isfinite().all() & g.isfinite().all() & D.isfinite().all()
    H, g, D = (torch.where(finite, part, 0) for part in (H, g, D))
    bound = D > 0 if damping > 0 else torch.zeros_like(D, dtype=torch.bool)
    D_inv = torch.where(bound, 1 / torch.where(bound, D, 1), 0)
    free = (~bound).to(H)
    H_zz_inv = _pseudo_inverse(free[:, None] * H * free)
    reduced_H, reduced_g = H - H @ H_zz_inv @ H, g - H @ (H_zz_inv @ g)
    a, Q = torch.linalg.eigh(D_inv[:, None] * reduced_H * D_inv)
    c = Q.T @ (D_inv * reduced_g)
    y, r, branches = _secular(a, c, damping)
    x = D_inv * (Q @ y)
    eta = torch.where(finite, x + H_zz_inv @ (g - H @ x), torch.nan)
    return CubicSolution(eta, r, a[0], branches, free.sum())


def _secular(a: Tensor, c: Tensor, damping: float) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Q'y [S], r = ||y|| and the branches, for eigenvalues a [S] in ascending order and c = Q' D^-1 g [S]."""
    half, eps = max(damping, torch.finfo(a.dtype).tiny) / 2, torch.finfo(a.dtype).eps
    r_0 = (-a[0] / half).clamp(min=0)
    rounding = eps * torch.linalg.vector_norm(c).maximum(half * r_0**2)
    lowest = (a == a[0]) & (a[0] < 0) & (c.abs() < rounding)
    c = torch.where(lowest, torch.where(c < 0, -rounding, rounding), c)
    shifted = a + half * r_0  # >= 0, and exactly 0 at the lowest eigenvalue if that is negative
    shifted = torch.where((a == a[0]) & (a[0] < 0), 0, shifted)
    # a single term: |c| = (r_0 + s)(shifted + half s), with s its largest root
    b = shifted + half * r_0
    s = 2 * (c.abs() - r_0 * shifted) / (b + (b**2 + 4 * half * (c.abs() - r_0 * shifted)).clamp(min=0).sqrt())
    s = torch.where(c == 0, 0, s).clamp(min=0).amax()
    y = _divide(c, shifted + half * s)
    for _ in range(ITERATIONS):
        norm, r = torch.linalg.vector_norm(y), r_0 + s
        slope = half * (_divide(y**2, shifted + half * s)).sum() / norm**3 + 1 / r**2  # of 1/||y|| - 1/r
        rise = (1 / r - 1 / norm) / slope
        s = torch.where(rise.isfinite(), s + rise, s).maximum(s)
        y = _divide(c, shifted + half * s)
    hard = lowest.any()
    tolerance = eps * len(a) * a.abs().amax()
    branches = {
        "positive": a[0] > tolerance,
        "singular": a[0].abs() <= tolerance,
        "indefinite": a[0] < -tolerance,
        "hard": hard,
    }
    return y, torch.linalg.vector_norm(y), {name: applies.to(a.dtype) for name, applies in branches.items()}


def _divide(numerator: Tensor, denominator: Tensor) -> Tensor:
    """The quotient, elementwise; 0 where the numerator is 0."""
    return torch.where(numerator == 0, 0, numerator / denominator)


def _pseudo_inverse(H: Tensor) -> Tensor:
    """A symmetric generalised inverse [S, S] of a symmetric H [S, S].

    H is first scaled to rows of comparable size, because groups of parameters differ by orders of magnitude.
    Eigenvalues of the scaled matrix below rounding count as 0.
    """
    size = H.abs().amax(1)
    scale = torch.where(size > 0, torch.where(size > 0, size, 1).rsqrt(), 0)
    a, Q = torch.linalg.eigh(scale[:, None] * H * scale)
    large = a.abs() > torch.finfo(a.dtype).eps * len(a) * a.abs().amax()
    return scale[:, None] * ((Q * torch.where(large, 1 / torch.where(large, a, 1), 0)) @ Q.T) * scale
