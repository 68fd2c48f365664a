"""Step sizes along a direction, and the choice among several iterates. Synchronises with the device once per trial."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sobench.linalg.cg_descent import Iterate

ROUNDING = 10
"""A difference of f below this many units in the last place of f(0) counts as zero."""


@dataclass(frozen=True)
class Sized:
    """gamma: the step size. eta: the Taylor ratio of the last trial. tries: the number of changes of gamma."""

    gamma: float
    eta: float
    tries: int


def rounding(value: Tensor) -> Tensor:
    """The largest difference from `value` that counts as zero, a scalar."""
    return ROUNDING * torch.finfo(value.dtype).eps * value.abs()


def taylor(
    f: Callable[[float], Tensor],
    value: Tensor,
    slope: Tensor,
    curvature: Tensor,
    *,
    ratio: float,
    tries: int,
    smallest: float = 1e-6,
) -> Sized:
    """The step size for which the error of the quadratic model is ratio / 2 to ratio of the change of f.

    Shen et al., Second-order Neural Network Training Using Complex-step Directional Derivative, algorithm 1, lines 33
    to 46:

        eta(gamma) = |f(gamma) - f(0) - E_Q(gamma)| / |f(gamma) - f(0)|                                (13)
        E_Q(gamma) = gamma slope + gamma^2 curvature / 2

    f: gamma -> f(theta + gamma p), a scalar; value, slope, curvature: f(0), f'(0), f''(0), scalars.

    Starts at gamma = 1, which is the result if eta < ratio / 2 (line 35). Otherwise gamma is halved while eta is too
    large and multiplied by 1.5 while it is too small. After `tries` changes without success gamma is `smallest` ("if
    the adjustment does not work in few attempts"; the listing has no bound). The s of line 36 is not used.

    Deviations. Equation 13 takes the magnitude of the change, so it accepts a rise that the model predicts. The text
    has "the loss reduction" there, and "every iteration is descent". Here eta is infinite if f rises or is NaN. An
    error below the rounding of f does not count as an error of the model: eta = 0.
    """
    small = rounding(value)

    def eta(gamma: float) -> float:
        change = f(gamma) - value
        error = (change - gamma * (slope + gamma / 2 * curvature)).abs()
        ratio = torch.where(error <= small, 0, error / change.abs())
        return torch.where(change <= small, ratio, torch.inf).item()

    gamma, error_ratio, changes = 1.0, eta(1.0), 0
    if error_ratio < ratio / 2:
        return Sized(gamma, error_ratio, changes)
    while not ratio / 2 <= error_ratio <= ratio:
        if changes == tries:
            return Sized(smallest, error_ratio, changes)
        gamma *= 0.5 if error_ratio > ratio else 1.5
        error_ratio, changes = eta(gamma), changes + 1
    return Sized(gamma, error_ratio, changes)


def armijo(
    f: Callable[[float], Tensor],
    value: Tensor,
    slope: Tensor,
    *,
    first: float = 1.0,
    shrink: float = 0.8,
    c: float = 0.01,
    trials: int = 60,
) -> float:
    """The first t of first, shrink first, shrink^2 first, ... with f(t) <= f(0) + c t f'(0); 0.0 if `trials` fail.

    f: t -> f(theta + t p), a scalar. value: f(0), a scalar. slope: f'(0), a scalar, negative for a descent direction; a
    positive slope counts as 0, so that f(t) <= f(0) is required.
    """
    t = first
    slope = slope.clamp(max=0)
    for _ in range(trials):
        if f(t) <= value + c * t * slope:
            return t
        t *= shrink
    return 0.0


def backtrack(f: Callable[[Tensor], Tensor], iterates: Sequence[Iterate]) -> tuple[Iterate, Tensor]:
    """The best iterate and the value of f there, a scalar.

    Goes back from the last iterate as long as f decreases (Martens 2010, section 4.6). A NaN at the current best counts
    as larger than any value.
    """
    best, value = iterates[-1], f(iterates[-1].x)
    for earlier in reversed(iterates[:-1]):
        earlier_value = f(earlier.x)
        if not (earlier_value < value) | value.isnan():
            break
        best, value = earlier, earlier_value
    return best, value
