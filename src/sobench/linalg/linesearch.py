"""How far to go along a direction, and which of several points to go to. The device is read once a trial."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sobench.linalg.cg_descent import Iterate

ROUNDING = 10
"""Differences of f below this many units in the last place of f(0) count as none."""


@dataclass(frozen=True)
class Sized:
    """gamma: the step size; eta: the Taylor ratio of the last one tried; tries: the changes of gamma made."""

    gamma: float
    eta: float
    tries: int


def rounding(value: Tensor) -> Tensor:
    """The largest difference from `value` that counts as none."""
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
    """The step size at which the quadratic model errs by ratio / 2 to ratio of the change of f (Shen et al., Second-order Neural
    Network Training Using Complex-step Directional Derivative, algorithm 1, lines 33 to 46):

        eta(gamma) = |f(gamma) - f(0) - E_Q(gamma)| / |f(gamma) - f(0)|,  E_Q = gamma slope + gamma^2 curvature / 2      (13)

    From gamma = 1, which is kept where eta < ratio / 2 (line 35); else gamma is halved where eta is too large and times 1.5 where
    it is too small. Where `tries` changes do not do, gamma is `smallest` ("if the adjustment does not work in few attempts"; the
    listing has no bound). f: gamma -> f(theta + gamma p); value, slope, curvature: f(0), f'(0), f''(0). Line 36's s is not used.

    Beyond the paper. Equation 13 takes the change by its size, and so is content with a rise that the model foresees; the text
    has "the loss reduction" there, and "every iteration is descent": where f rises, or is not a number, eta is infinite. An
    error of f's own rounding is no error of the model: eta = 0.
    """
    small = rounding(value)

    def eta(gamma: float) -> float:
        change = f(gamma) - value
        error = (change - gamma * (slope + gamma / 2 * curvature)).abs()
        ratio = torch.where(error <= small, 0, error / change.abs())
        return torch.where(change <= small, ratio, torch.inf).item()

    gamma, reached, made = 1.0, eta(1.0), 0
    if reached < ratio / 2:
        return Sized(gamma, reached, made)
    while not ratio / 2 <= reached <= ratio:
        if made == tries:
            return Sized(smallest, reached, made)
        gamma *= 0.5 if reached > ratio else 1.5
        reached, made = eta(gamma), made + 1
    return Sized(gamma, reached, made)


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
    """The first t of first, shrink first, shrink^2 first, ... with f(t) <= f(0) + c t f'(0); 0.0 where none of `trials` is.

    f: t -> f(theta + t p); value: f(0); slope: f'(0), negative where p descends (otherwise descent itself is asked for).
    """
    t = first
    slope = slope.clamp(max=0)
    for _ in range(trials):
        if f(t) <= value + c * t * slope:
            return t
        t *= shrink
    return 0.0


def backtrack(f: Callable[[Tensor], Tensor], iterates: Sequence[Iterate]) -> tuple[Iterate, Tensor]:
    """The best iterate, going back from the last while f falls (Martens 2010, section 4.6), and f there."""
    best, value = iterates[-1], f(iterates[-1].x)
    for earlier in reversed(iterates[:-1]):
        there = f(earlier.x)
        if not (there < value) | value.isnan():
            break
        best, value = earlier, there
    return best, value
