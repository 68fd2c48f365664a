"""Passes at complex parameters, for complex-step methods.

    CSDD     H p    = Im g(theta + ihp) / h                       equation 10, one complex forward and backward pass
    CSDD2    p'H p  = Im d/dt f(theta + ihp + tp) |_{t=0} / h     equation 11, one forward pass of dual complex numbers

S. Shen et al., Second-order Neural Network Training Using Complex-step Directional Derivative. g is the holomorphic
gradient, the gradient of the analytic extension of f, and H p = Im g(theta + ihp) / h up to the order h^2.

CSDD2 in the paper takes two imaginary units, Im_{i1 i2} f(theta + (h i1 + h i2) p) / h^2, of bicomplex numbers. Here t
with t^2 = 0 replaces i2. The derivative in t is exact and has no h, and its arithmetic is torch's forward-mode
differentiation of the complex pass. Neither form has a subtraction. CSDD2 has no backward pass, so it keeps no graph.
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
from sobench.objective.forward_pass import differentiating
from sobench.objective.parameter_space import ParameterSpace
from sobench.objective.torch_private import load_forward_rules

ComplexLoss = Callable[[tuple[Tensor, ...]], Tensor]
"""The analytic extension of the loss, without the penalty: complex parameters, one tensor each -> a complex scalar."""


def value_and_grad(loss_at: ComplexLoss, space: ParameterSpace, at: Tensor) -> tuple[Tensor, Tensor]:
    """The complex loss, a scalar, and its holomorphic gradient f' [P], at complex parameters `at` [P].

    torch differentiates the real Re f, and its gradient is conj(f').
    """
    leaves = tuple(p.detach().requires_grad_() for p in space.unflatten(at))
    with torch.enable_grad():
        loss = loss_at(leaves)
        with differentiating():
            grads = torch.autograd.grad(loss.real, leaves, materialize_grads=True)
    return loss.detach(), space.flatten(grads).conj_physical_()


def curvature(loss_at: ComplexLoss, space: ParameterSpace, theta: Tensor, p: Tensor, h: float) -> Tensor:
    """p'Hp, a scalar, at theta [P] for p [P], by CSDD2 with step h; H is that of the loss without the penalty."""
    at = complex_step.shifted(theta, p, h)
    direction = space.unflatten(p.to(at.dtype))
    load_forward_rules()
    with forward_ad.dual_level():
        duals = tuple(map(forward_ad.make_dual, space.unflatten(at), direction))
        slope = forward_ad.unpack_dual(loss_at(duals)).tangent
    return torch.zeros_like(theta[0]) if slope is None else slope.imag / h  # None: the loss does not depend on theta


class Differentiable(Protocol):
    """The part of an `Objective` that `complex_hessian` uses."""

    @property
    def space(self) -> ParameterSpace: ...

    def value_and_grad(self, at: Tensor | None = None) -> tuple[Tensor, Tensor]: ...


def complex_hessian(f: Differentiable, h: float = STEP) -> LinearOperator:
    """The Hessian [P, P] of f at the current parameters, by CSDD with step h, penalty included.

    Each product costs one complex forward and backward pass. Raises Unsupported for a layer without a complex form.
    """
    return complex_step.hessian(lambda theta: f.value_and_grad(theta)[1], f.space.get(), h)
