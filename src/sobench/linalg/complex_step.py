"""Finite differences with real and complex steps, of functions and of gradients.

    forward        f'(x) ~ (f(x + h) - f(x)) / h                error O(h) + O(eps / h)          equation 2
    central        f'(x) ~ (f(x + h) - f(x - h)) / 2h           error O(h^2) + O(eps / h)        equation 3
    complex step   f'(x) ~ Im f(x + ih) / h                     error O(h^2), no subtraction     equation 5
    CSDD           H p   ~ Im g(theta + ihp) / h                the same, of a gradient g        equation 10

S. Shen et al., Second-order Neural Network Training Using Complex-step Directional Derivative, "Complex-step Finite Difference"
and "Complex-step Directional Derivative". A complex function here is the analytic extension of a real one. The paper's "h ~
sqrt(eps), i.e., around 2e-24" is a slip: the relative error h^2 |f'''/6f'| sinks below eps at h ~ sqrt(eps) ~ 1e-8.

The default h. Nothing is lost by a smaller h until a product of h underflows, so STEP lies between two bounds. From above: the
error is of the order of (h ||p||)^2, which for h = 1e-12 is below float64's 1e-16 up to ||p|| = 1e4, and below float32's
6e-8 by far. From below: float32's least normal number is 1e-38 (less becomes zero where denormals are flushed), which leaves 26
decades to what h is multiplied with, directions and derivatives: parts of the result that underflow are smaller than 1e-26.
The real differences balance truncation against rounding instead, at sqrt(eps) and eps^(1/3), for ||p|| and x of order 1.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from sobench.errors import UsageError
from sobench.linalg.operator import LinearOperator

Function = Callable[[Tensor], Tensor]

STEP = 1e-12
"""h of a complex step, in float32 and in float64."""


def forward_difference(f: Function, x: Tensor, h: float | None = None) -> Tensor:
    """f'(x) by equation 2, for f elementwise on x of any shape; h: sqrt(eps) unless given."""
    h = checked(x, h, 1 / 2)
    return (f(x + h) - f(x)) / h


def central_difference(f: Function, x: Tensor, h: float | None = None) -> Tensor:
    """f'(x) by equation 3, for f elementwise on x of any shape; h: eps^(1/3) unless given."""
    h = checked(x, h, 1 / 3)
    return (f(x + h) - f(x - h)) / (2 * h)


def complex_step(f: Function, x: Tensor, h: float = STEP) -> Tensor:
    """f'(x) by equation 5, for f elementwise on x of any shape, extended to complex arguments."""
    return f(shifted(x, torch.ones_like(x), h)).imag / h


def forward_product(gradient: Function, theta: Tensor, p: Tensor, h: float | None = None) -> Tensor:
    """(g(theta + hp) - g(theta)) / h, nearly H p [P]; h: sqrt(eps) unless given."""
    h = checked(theta, h, 1 / 2)
    return (gradient(theta + h * p) - gradient(theta)) / h


def central_product(gradient: Function, theta: Tensor, p: Tensor, h: float | None = None) -> Tensor:
    """(g(theta + hp) - g(theta - hp)) / 2h, nearly H p [P]; h: eps^(1/3) unless given."""
    h = checked(theta, h, 1 / 3)
    return (gradient(theta + h * p) - gradient(theta - h * p)) / (2 * h)


def csdd(gradient: Function, theta: Tensor, p: Tensor, h: float = STEP) -> Tensor:
    """H p [P] by equation 10, for a gradient extended to complex parameters."""
    return gradient(shifted(theta, p, h)).imag / h


def hessian(gradient: Function, theta: Tensor, h: float = STEP) -> LinearOperator:
    """The matrix of csdd's products at theta, [P, P]: one complex gradient a product."""
    checked(theta, h)
    return LinearOperator(lambda p: csdd(gradient, theta, p, h), len(theta), dtype=theta.dtype, device=theta.device)


def shifted(x: Tensor, p: Tensor, h: float) -> Tensor:
    """x + ihp. Raises UsageError for an x that is not real or an h that is not above 0."""
    return torch.complex(x, checked(x, h) * p)


def checked(x: Tensor, h: float | None, power: float = 1.0) -> float:
    """h, or eps^power of x's type for None. Raises UsageError for an x that is not real or an h that is not above 0."""
    if not x.is_floating_point():
        raise UsageError(
            f"a step starts from real numbers, got {str(x.dtype).removeprefix('torch.')}; allowed: float32, float64"
        )
    h = torch.finfo(x.dtype).eps ** power if h is None else h
    if not 0 < h < float("inf"):
        raise UsageError(f"h: got {h}, allowed: a number above 0")
    return h
