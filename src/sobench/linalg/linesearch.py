"""How far to go along a direction, and which of several points to go to. The device is read once a trial."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from sobench.linalg.cg_descent import Iterate


def armijo(f: Callable[[float], Tensor], value: Tensor, slope: Tensor, *, first: float = 1.0, shrink: float = 0.8,
           c: float = 0.01, trials: int = 60) -> float:
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
