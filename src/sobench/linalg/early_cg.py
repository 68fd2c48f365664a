"""Conjugate gradients that end at the first direction of negative curvature, and asks for that curvature before the product.

S. Shen et al., Second-order Neural Network Training Using Complex-step Directional Derivative, algorithm 1, lines 10 to 28. For
the quadratic energy g'x + x'Hx / 2, from any start:

    r_0 = -(g + H x),  p_0 = r_0
    kappa = p_i'H p_i;  the end if kappa < 0                                    lines 14 to 17
    kappa <- 0.01 ||p_i||^2  if kappa < 1e-8 ||p_i||^2                          lines 18 to 20, the local momentum
    x <- x + alpha p_i,  alpha = ||r_i||^2 / kappa                              lines 21 and 22
    r_{i+1} = r_i - alpha H p_i                                                 lines 23 and 24
    p_{i+1} = r_{i+1} + ||r_{i+1}||^2 / ||r_i||^2 p_i                           lines 25 and 26

The listing's errors, mended. Line 21 has ||r_i|| for ||r_i||^2: conjugacy needs the square. Line 25 has r_j, and line 19 p_j, for
r_i and p_i: j counts batches. Lines 18 and 19 compare kappa, which scales as ||p||^2, with 1e-8, and replace it by 0.01 ||p||, of
other units: as ||p|| -> 0 every kappa, of a well-conditioned H too, falls below 1e-8, and CG is no more CG before it has
converged. Here both are of the curvature of the unit vector p / ||p||, with the same numbers; at ||p|| = 1 nothing differs. Line
18 leaves kappa = 0 out, for which the text has the momentum ("to avoid the division-by-zero problem"): it counts as small.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from sobench.linalg.krylov import check

FLAT = 1e-8
"""Curvature of a unit direction below which it counts as none."""

MOMENTUM = 0.01
"""Curvature that a flat direction is given."""


class Curvature(Protocol):
    """A symmetric matrix H [P, P] by its products and, maybe more cheaply, by its quadratic form."""

    def along(self, p: Tensor) -> Tensor:
        """p'Hp, a scalar."""

    def __matmul__(self, p: Tensor) -> Tensor:
        """H p, [P]."""


@dataclass(frozen=True)
class EarlyCG:
    """x [P] after `iterations` updates; terminated: whether a negative curvature ended them (one that is not a number counts as
    such); flat: how many of them had the local momentum."""

    x: Tensor
    iterations: int
    terminated: bool
    flat: int


def early_cg(H: Curvature, g: Tensor, x: Tensor, *, max_iterations: int, tol: float) -> EarlyCG:
    """From x [P], for a gradient g [P], until ||r|| <= tol ||g||, max_iterations updates, or a negative curvature, along which x
    is not moved. The device is read twice an iteration, once a branch. Raises UsageError for arguments out of range."""
    check(g, x, max_iterations, tol)
    r = -(g + H @ x)  # line 12
    p, rr, small = r, r.dot(r), tol**2 * g.dot(g)
    i, flat = 0, 0
    while i < max_iterations and rr > small:
        kappa, pp = torch.stack((H.along(p), p.dot(p))).tolist()
        if not kappa >= 0:
            return EarlyCG(x, i, True, flat)
        if kappa < FLAT * pp:
            kappa, flat = MOMENTUM * pp, flat + 1
        alpha = rr / kappa
        x = x + alpha * p
        r = r - alpha * (H @ p)
        rr, previous = r.dot(r), rr
        p = r + rr / previous * p
        i += 1
    return EarlyCG(x, i, False, flat)
