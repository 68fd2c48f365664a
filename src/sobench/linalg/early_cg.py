"""Conjugate gradients that stop at the first direction of negative curvature, tested before the product is made.

S. Shen et al., Second-order Neural Network Training Using Complex-step Directional Derivative, algorithm 1, lines 10 to
28. For the quadratic energy g'x + x'Hx / 2, from any start:

    r_0 = -(g + H x),  p_0 = r_0
    kappa = p_i'H p_i;  stop if kappa < 0                                       lines 14 to 17
    kappa <- 0.01 ||p_i||^2  if kappa < 1e-8 ||p_i||^2                          lines 18 to 20, the local momentum
    x <- x + alpha p_i,  alpha = ||r_i||^2 / kappa                              lines 21 and 22
    r_{i+1} = r_i - alpha H p_i                                                 lines 23 and 24
    p_{i+1} = r_{i+1} + ||r_{i+1}||^2 / ||r_i||^2 p_i                           lines 25 and 26

Corrections to the listing. Line 21 has ||r_i|| for ||r_i||^2, but conjugacy needs the square. Line 25 has r_j, and line
19 p_j, for r_i and p_i: j counts batches. Lines 18 and 19 compare kappa, which scales as ||p||^2, with 1e-8, and
replace it by 0.01 ||p||, which has other units. As ||p|| -> 0 every kappa falls below 1e-8, for a well-conditioned H
too, and the method stops being CG before it has converged. Here both lines apply to the curvature of the unit vector p
/ ||p||, with the same numbers; at ||p|| = 1 nothing differs. Line 18 omits kappa = 0, for which the text applies the
momentum ("to avoid the division-by-zero problem"): here kappa = 0 counts as small.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from sobench.linalg.krylov import check

FLAT = 1e-8
"""A unit direction with a smaller curvature counts as flat."""

MOMENTUM = 0.01
"""The curvature that replaces that of a flat unit direction."""


class Curvature(Protocol):
    """A symmetric matrix H [P, P], given by its quadratic form, which may be cheaper, and by its products."""

    def along(self, p: Tensor, /) -> Tensor:
        """p'Hp, a scalar, for p [P]."""
        ...

    def __matmul__(self, p: Tensor, /) -> Tensor:
        """H p [P], for p [P]."""
        ...


@dataclass(frozen=True)
class EarlyCG:
    """The result of `early_cg`.

    x: the last iterate, [P].
    iterations: the number of updates of x.
    terminated: whether a negative curvature, or one that is NaN, stopped the iteration.
    flat: the number of updates with the local momentum.
    """

    x: Tensor
    iterations: int
    terminated: bool
    flat: int


def early_cg(
    H: Curvature, g: Tensor, x: Tensor, *, max_iterations: int, tol: float, early_termination: bool = True
) -> EarlyCG:
    """Minimise g'x + x'Hx / 2 from x [P], for a gradient g [P].

    Stops at ||r|| <= tol ||g||, after max_iterations updates, or at a direction of negative curvature, along which x is
    not moved. Without early_termination the iteration goes on there, to the maximum of the energy along the direction;
    only a curvature that is NaN stops it. Makes one quadratic form and one product per iteration, and one product at
    the start. Synchronises with the device twice per iteration. Raises UsageError for arguments out of range.
    """
    check(g, x, max_iterations, tol)
    r = -(g + H @ x)  # line 12
    x, p, rr, small = x.clone(), r.clone(), r.dot(r), tol**2 * g.dot(g)
    scratch = torch.empty_like(r)
    i, flat = 0, 0
    while i < max_iterations and rr > small:
        kappa, pp = torch.stack((H.along(p), p.dot(p))).tolist()
        if not kappa >= 0 and (early_termination or math.isnan(kappa)):
            return EarlyCG(x, i, True, flat)
        if 0 <= kappa < FLAT * pp:
            kappa, flat = MOMENTUM * pp, flat + 1
        alpha = rr / kappa
        x.add_(torch.mul(alpha, p, out=scratch))
        r.sub_(torch.mul(alpha, H @ p, out=scratch))
        rr, previous = r.dot(r), rr
        p.mul_(rr / previous).add_(r)
        i += 1
    return EarlyCG(x, i, False, flat)
