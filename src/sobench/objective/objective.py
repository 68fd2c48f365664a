"""f_B(theta): the regularised mean loss of one batch as a function of the parameters, and its curvature.

    f(theta) = 1/N sum_n loss(z_n(theta), y_n) + l2/2 ||theta||^2

Called with no arguments it is torch's closure, so `torch.optim.SGD(...).step(f)` runs unmodified. Every other oracle leaves
the parameters, `.grad`, BatchNorm's running statistics and the random state as it found them. Work is counted in `cost`.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from sobench.linalg.operator import LinearOperator
from sobench.objective import per_sample
from sobench.objective.complex_oracles import ComplexOracles
from sobench.objective.cost import Cost
from sobench.objective.kept_pass import KeptPass
from sobench.objective.layer_oracles import LayerOracles
from sobench.objective.network import Network
from sobench.objective.related import RelatedObjectives
from sobench.objective.taylor_oracles import SummaryOracles

REVISION = 1
"""Part of every method's fingerprint. Raise it by hand when a change can change a result: here, or in the parts of an objective
(passes, network, parameter space, complex and Taylor passes). The layer mathematics and sobench.linalg count by their source."""


class Batch(NamedTuple):
    """inputs [N, ...] and targets [N] or [N, C]."""

    inputs: Tensor
    targets: Tensor


class Objective(RelatedObjectives, SummaryOracles, LayerOracles, ComplexOracles, KeptPass):
    """The loss of one batch, answering the questions optimizers ask.

    model: any module whose output is [N, C]; loss: one of `sobench.losses`; batch: (inputs, targets).
    source: where `fresh()` and `full()` draw from (the harness gives its training set); streams: the step's random
    streams. key: which batch of a fixed partition this is, or None. At `theta` [P] given as `at`, an oracle is evaluated
    there; otherwise at the model's own parameters.
    """

    def __init__(self, model: nn.Module, loss, batch, *, l2: float = 0.0, source=None, streams=None, cost=None):
        self.network, self.loss_function, self.batch = Network(model), loss, Batch(*batch)
        self.l2, self.source, self.streams = l2, source, streams
        self.space = self.network.space
        self.cost = Cost() if cost is None else cost
        self.key: int | None = None
        self._noise_seed = self._new_noise_seed()
        self._statistics: dict[str, Tensor] | None = None
        self._records = None
        self._forget()

    def on(self, batch, streams=None, key: int | None = None) -> Objective:
        """The same model, loss, source and meter on the batch of another step, with dropout masks of its own. key: which batch
        that is of a fixed partition of the training set."""
        other = self.twin(batch)
        other.streams, other.key = streams, key
        other._noise_seed = other._new_noise_seed()
        return other

    def twin(self, batch) -> Objective:
        """The same on another batch of this step, with the same dropout masks."""
        other = object.__new__(Objective)
        other.__dict__.update(self.__dict__, batch=Batch(*batch), key=None, _statistics=None)
        other._forget()
        return other

    def __len__(self) -> int:
        return self.batch.inputs.shape[0]

    # The closure

    def __call__(self) -> Tensor:
        """Zero and assign every `.grad`, and return the loss: torch's closure. It alone commits BatchNorm's statistics."""
        self.cost.used.add("closure")
        parameters = self.space.parameters
        for p in parameters:
            p.grad = None
        with torch.enable_grad(), self._noise():
            loss = self.loss_function(self.network.model(self.batch.inputs), self.batch.targets)
            loss.backward()
        for p in parameters:
            if p.grad is None:  # the outputs do not use it
                p.grad = torch.zeros_like(p)
        self.cost.forward(len(self))
        self.cost.backward(len(self))
        loss = loss.detach()
        if self.l2:
            with torch.no_grad():
                torch._foreach_add_([p.grad for p in parameters], parameters, alpha=self.l2)
            loss = loss + self._penalty(parameters)
        return loss

    def commit(self) -> None:
        """Move BatchNorm's running statistics on by this batch, as the closure does: for the loop, after an optimizer
        that never called the closure. They are those of its first pass at the model's own parameters."""
        if self._statistics is not None:
            self.network.write(self._statistics)
            self._statistics = None

    # Values and gradients

    @torch.no_grad()
    def loss(self, at: Tensor | None = None) -> Tensor:
        """f(theta), a scalar. With a complex `at` [P] it is a complex-step pass, and complex itself."""
        self.cost.used.add("loss")
        parameters = None if at is None else self.space.unflatten(at)
        if at is not None and at.is_complex():
            return self._complex_value(parameters)
        self.cost.forward(len(self))
        with self._noise():
            value = self.loss_function(self.network(self.batch.inputs, parameters), self.batch.targets)
        return value + self._penalty(parameters or self.space.parameters) if self.l2 else value

    def value_and_grad(self, at: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """f(theta), a scalar, and its gradient [P]; `.grad` is left alone. With a complex `at` [P] both are complex, and the
        gradient is the holomorphic one: Im g(theta + ihp) / h is a Hessian product."""
        self.cost.used.add("value_and_grad")
        if at is not None and at.is_complex():
            return self._complex_gradient(at)
        forward = self._pass(at)
        loss, grads = self._known_gradient(at) or forward.gradient(self.batch.targets)
        g = self.space.flatten([g.detach() for g in grads])
        if not self.l2:
            return loss, g
        theta = self.space.flatten([p.detach() for p in forward.parameters])
        return loss + self._penalty(forward.parameters), g + self.l2 * theta

    # Curvature

    def hessian(self, at: Tensor | None = None) -> LinearOperator:
        """The Hessian of f, [P, P], linearised once; `value_and_grad()` after it costs nothing more."""
        self.cost.used.add("hessian")
        forward = self._pass(at)
        loss, grads = self._known_gradient(at) or forward.gradient(self.batch.targets, create_graph=True)
        if at is None:
            self._differentiated = (loss, grads)
        return self._regularised(forward.hessian(grads))

    def ggn(self, at: Tensor | None = None) -> LinearOperator:
        """The generalised Gauss-Newton matrix J^T H_z J / N + l2 I, [P, P], linearised once."""
        self.cost.used.add("ggn")
        return self._regularised(self._pass(at).ggn(self.batch.targets))

    def per_sample_grads(self, at: Tensor | None = None) -> Tensor:
        """The gradient of each sample's own loss plus the penalty, [N, P]: their mean is the gradient."""
        self.cost.used.add("per_sample_grads")
        parameters = self._parameters(at)
        if self.network.separable:
            self._meter(backwards=1)
            G = per_sample.separable_grads(self.network, self.loss_function, self.batch, parameters)
        else:
            G = per_sample.coupled_grads(self._pass(at), self.batch.targets)
        return G + self.l2 * self.space.flatten(parameters) if self.l2 else G

    def output_jacobian(self, at: Tensor | None = None) -> Tensor:
        """dz_nc / dtheta, [N, C, P]."""
        self.cost.used.add("output_jacobian")
        if not self.network.separable:
            return per_sample.coupled_jacobian(self._pass(at))
        J = per_sample.separable_jacobian(self.network, self.batch.inputs, self._parameters(at))
        self._meter(backwards=J.shape[1])
        return J

    # Inside

    def _parameters(self, at: Tensor | None) -> tuple[Tensor, ...]:
        return self.space.unflatten(at) if at is not None else tuple(p.detach() for p in self.space.parameters)

    def penalty(self) -> Tensor | float:
        """l2/2 ||theta||^2 at the model's parameters."""
        return self._penalty(self.space.parameters) if self.l2 else 0.0

    def _penalty(self, parameters) -> Tensor:
        """l2/2 theta . theta, without conjugation, so that it stays holomorphic."""
        return 0.5 * self.l2 * sum((p.detach() * p.detach()).sum() for p in parameters)

    def _regularised(self, A: LinearOperator) -> LinearOperator:
        return A + self.l2 if self.l2 else A

    def _meter(self, backwards: int) -> None:
        self.cost.forward(len(self))
        self.cost.backward(len(self), scale=backwards)
