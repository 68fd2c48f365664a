"""Passes at complex parameters: what complex-step methods ask of an objective.

    CSDD     H p    = Im g(theta + ihp) / h                           one complex forward and backward pass     equation 10
    CSDD2    p'H p  = Im d/dt f(theta + ihp + tp) |_{t=0} / h         one forward pass of dual complex numbers  equation 11

S. Shen et al., Second-order Neural Network Training Using Complex-step Directional Derivative. g is the holomorphic gradient: of
the analytic extension of f, and H p = Im g(theta + ihp) / h to the order h^2.

CSDD2 in the paper takes two imaginary units, Im_{i1 i2} f(theta + (h i1 + h i2) p) / h^2, of bicomplex numbers. Here t, t^2 = 0,
stands for i2: in that step the derivative is exact, with no h at all, and the arithmetic is torch's forward-mode differentiation
of the complex pass. There is no subtraction in either, and no backward pass, so no graph is kept.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor
from torch.autograd import forward_ad

from sobench.linalg import complex_step
from sobench.linalg.complex_step import STEP
from sobench.linalg.operator import LinearOperator
from sobench.objective.parameter_space import ParameterSpace
from sobench.objective.torch_private import load_forward_rules

ComplexLoss = Callable[[tuple[Tensor, ...]], Tensor]
"""The complex loss, a scalar, at complex parameters, one tensor each: the analytic extension of f without the penalty."""


def value_and_grad(loss_at: ComplexLoss, space: ParameterSpace, at: Tensor) -> tuple[Tensor, Tensor]:
    """The complex loss, a scalar, and its holomorphic gradient f' [P]: torch's gradient, of the real Re f, is conj(f')."""
    leaves = tuple(p.detach().requires_grad_() for p in space.unflatten(at))
    with torch.enable_grad():
        loss = loss_at(leaves)
        grads = torch.autograd.grad(loss.real, leaves, materialize_grads=True)
    return loss.detach(), space.flatten(grads).conj_physical_()


def curvature(loss_at: ComplexLoss, space: ParameterSpace, theta: Tensor, p: Tensor, h: float) -> Tensor:
    """p'Hp, a scalar, for p [P], by CSDD2."""
    at = complex_step.shifted(theta, p, h)
    direction = space.unflatten(p.to(at.dtype))
    load_forward_rules()
    with forward_ad.dual_level():
        duals = tuple(map(forward_ad.make_dual, space.unflatten(at), direction))
        slope = forward_ad.unpack_dual(loss_at(duals)).tangent
    return slope.imag / h


class Differentiable(Protocol):
    """An objective: what `complex_hessian` asks of one."""

    space: ParameterSpace

    def value_and_grad(self, at: Tensor | None = None) -> tuple[Tensor, Tensor]: ...


def complex_hessian(f: Differentiable, h: float = STEP) -> LinearOperator:
    """H at the model's parameters as they are now, [P, P], by CSDD: each product is a complex gradient."""
    return complex_step.hessian(lambda theta: f.value_and_grad(theta)[1], f.space.get(), h)
