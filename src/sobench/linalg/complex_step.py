"""Finite differences with real and complex steps, of functions and of gradients.

    forward        f'(x) ~ (f(x + h) - f(x)) / h                error O(h) + O(eps / h)          equation 2
    central        f'(x) ~ (f(x + h) - f(x - h)) / 2h           error O(h^2) + O(eps / h)        equation 3
    complex step   f'(x) ~ Im f(x + ih) / h                     error O(h^2), no subtraction     equation 5
    CSDD           H p   ~ Im g(theta + ihp) / h                the same, of a gradient g        equation 10

S. Shen et al., Second-order Neural Network Training Using Complex-step Directional Derivative, "Complex-step Finite
Difference" and "Complex-step Directional Derivative". A complex function here is the analytic extension of a real
one. The paper's "h ~ sqrt(eps), i.e., around 2e-24" is a slip: the relative error h^2 |f'''/6f'| falls below eps at
h ~ sqrt(eps) ~ 1e-8.

The default h of a complex step. A smaller h loses nothing until a product with h underflows, so STEP lies between two
bounds. Upper bound: the relative error is of the order of (h ||p||)^2. For h = 1e-12 it is below float64's 1e-16 up to
||p|| = 1e4, and far below float32's 6e-8. Lower bound: the least normal number of float32 is 1e-38 (smaller numbers
become zero on hardware that flushes denormals). This leaves 26 decades to the factors of h, directions and
derivatives: the parts of the result that underflow are smaller than 1e-26.

The default h of a real difference balances truncation against rounding: sqrt(eps) and eps^(1/3), for ||p|| and x of
order 1.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from sobench.errors import UsageError
from sobench.linalg.operator import LinearOperator

Function = Callable[[Tensor], Tensor]
"""A function of numbers, elementwise, or a gradient [P] -> [P]."""

STEP = 1e-12
"""h of a complex step, in float32 and in float64."""


def forward_difference(f: Function, x: Tensor, h: float | None = None) -> Tensor:
    """f'(x), shaped as x, by equation 2, for an elementwise f. h: default sqrt(eps). Evaluates f twice."""
    h = checked(x, h, 1 / 2)
    return (f(x + h) - f(x)) / h


def central_difference(f: Function, x: Tensor, h: float | None = None) -> Tensor:
    """f'(x), shaped as x, by equation 3, for an elementwise f. h: default eps^(1/3). Evaluates f twice."""
    h = checked(x, h, 1 / 3)
    return (f(x + h) - f(x - h)) / (2 * h)


def complex_step(f: Function, x: Tensor, h: float = STEP) -> Tensor:
    """f'(x), shaped as x, by equation 5, for an elementwise f that takes complex arguments."""
    return f(shifted(x, torch.ones_like(x), h)).imag / h


def forward_product(gradient: Function, theta: Tensor, p: Tensor, h: float | None = None) -> Tensor:
    """(g(theta + hp) - g(theta)) / h, an approximation of H p [P]. h: default sqrt(eps)."""
    h = checked(theta, h, 1 / 2)
    return (gradient(theta + h * p) - gradient(theta)) / h


def central_product(gradient: Function, theta: Tensor, p: Tensor, h: float | None = None) -> Tensor:
    """(g(theta + hp) - g(theta - hp)) / 2h, an approximation of H p [P]. h: default eps^(1/3)."""
    h = checked(theta, h, 1 / 3)
    return (gradient(theta + h * p) - gradient(theta - h * p)) / (2 * h)


def csdd(gradient: Function, theta: Tensor, p: Tensor, h: float = STEP) -> Tensor:
    """H p [P] by equation 10, for a gradient that takes complex parameters [P]."""
    return gradient(shifted(theta, p, h)).imag / h


def hessian(gradient: Function, theta: Tensor, h: float = STEP) -> LinearOperator:
    """The Hessian [P, P] at theta [P] by `csdd`: one complex gradient per product. Raises the errors of `checked`."""
    checked(theta, h)
    return LinearOperator(lambda p: csdd(gradient, theta, p, h), len(theta), dtype=theta.dtype, device=theta.device)


def shifted(x: Tensor, p: Tensor, h: float) -> Tensor:
    """x + ihp, shaped as x. Raises UsageError for an x that is not real or an h that is not above 0."""
    return torch.complex(x, checked(x, h) * p)


def checked(x: Tensor, h: float | None, power: float = 1.0) -> float:
    """h, or eps^power in the precision of x if h is None.

    Raises UsageError for an x that is not real or an h that is not above 0.
    """
    if not x.is_floating_point():
        raise UsageError(
            f"a step starts from real numbers, got {str(x.dtype).removeprefix('torch.')}; allowed: float32, float64"
        )
    step: float = torch.finfo(x.dtype).eps ** power if h is None else h
    if not 0 < step < float("inf"):
        raise UsageError(f"h: got {step}, allowed: a number above 0")
    return step
