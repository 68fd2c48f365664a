"""What an objective answers at complex parameters: the half of its passes that complex-step methods use.

    CSDD     H p    = Im g(theta + ihp) / h                           one complex forward and backward pass     equation 10
    CSDD2    p'H p  = Im d/dt f(theta + ihp + tp) |_{t=0} / h         one forward pass of dual complex numbers  equation 11

S. Shen et al., Second-order Neural Network Training Using Complex-step Directional Derivative. g is the holomorphic gradient: of
the analytic extension of f, and H p = Im g(theta + ihp) / h to the order h^2.

CSDD2 in the paper takes two imaginary units, Im_{i1 i2} f(theta + (h i1 + h i2) p) / h^2, of bicomplex numbers. Here t, t^2 = 0,
stands for i2: in that step the derivative is exact, with no h at all, and the arithmetic is torch's forward-mode differentiation
of the complex pass. There is no subtraction in either, and no backward pass, so no graph is kept.
"""

from __future__ import annotations

import warnings
from functools import cache

import torch
from torch import Tensor
from torch.autograd import forward_ad

from sobench.linalg import complex_step
from sobench.linalg.complex_step import STEP
from sobench.linalg.operator import LinearOperator
from sobench.objective.cost import COMPLEX, DUAL, Cost
from sobench.objective.layers.records import unrecorded
from sobench.objective.network import Network
from sobench.objective.parameter_space import ParameterSpace


class ComplexOracles:
    """A part of `sobench.objective.Objective`, which has the loss, the batch and the meter."""

    network: Network
    space: ParameterSpace
    cost: Cost
    l2: float

    @torch.no_grad()
    def curvature(self, p: Tensor, h: float = STEP, at: Tensor | None = None) -> Tensor:
        """p'Hp, a scalar, for p [P]; H of the whole f, penalty included."""
        self.cost.used |= {"curvature", "complex"}
        theta = complex_step.shifted(self.space.get() if at is None else at, p, h)
        direction = self.space.unflatten(p.to(theta.dtype))
        _load_forward_rules()
        with forward_ad.dual_level():
            duals = tuple(map(forward_ad.make_dual, self.space.unflatten(theta), direction))
            slope = forward_ad.unpack_dual(self._complex_loss(duals)).tangent
        self.cost.forward(len(self), scale=COMPLEX * DUAL)
        return slope.imag / h + self.l2 * p.dot(p)

    def _complex_value(self, parameters: tuple[Tensor, ...]) -> Tensor:
        """The complex loss, a scalar."""
        self.cost.forward(len(self), scale=COMPLEX)
        value = self._complex_loss(parameters)
        return value + self._penalty(parameters) if self.l2 else value

    def _complex_gradient(self, at: Tensor) -> tuple[Tensor, Tensor]:
        """The complex loss, a scalar, and its holomorphic gradient f' [P]: torch's gradient, of the real Re f, is conj(f')."""
        leaves = tuple(p.detach().requires_grad_() for p in self.space.unflatten(at))
        with torch.enable_grad():
            loss = self._complex_value(leaves)
            grads = torch.autograd.grad(loss.real, leaves, materialize_grads=True)
        self.cost.backward(len(self), scale=COMPLEX)
        g = self.space.flatten(grads).conj_physical_()
        return loss.detach(), g + self.l2 * at if self.l2 else g

    def _complex_loss(self, parameters: tuple[Tensor, ...]) -> Tensor:
        """Without the penalty."""
        self.cost.used.add("complex")
        with self._noise(), unrecorded():
            return self.loss_function(self.network.complex(self.batch.inputs, parameters), self.batch.targets)


@cache
def _load_forward_rules() -> None:
    """What torch imports at its first dual number; its own use of torch.jit warns that torch.jit is deprecated."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        import torch._decomp.decompositions_for_jvp  # noqa: F401


def complex_hessian(f: ComplexOracles, h: float = STEP) -> LinearOperator:
    """H at the model's parameters as they are now, [P, P], by CSDD: each product is a complex gradient."""
    return complex_step.hessian(lambda theta: f.value_and_grad(theta)[1], f.space.get(), h)
