"""What an objective answers about a partition of its parameters: derivatives along the groups of a direction."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from sobench.objective.holomorphic.layers import batch_norm
from sobench.objective.taylor import series
from sobench.objective.taylor.partition import Partition
from sobench.objective.taylor.rules import RULES


class Summary(NamedTuple):
    """D^(1) [S], D^(2) [S, S] and the diagonal of D^(3) [S] along u, of a partition into S groups (Wolinski, equations 5, 6)."""

    first: Tensor
    second: Tensor
    third: Tensor


class SummaryOracles:
    """A part of `sobench.objective.Objective`, which has the network, the batch and the meter."""

    def summary(self, u: Tensor, partition: Partition, at: Tensor | None = None) -> Summary:
        """The derivatives of phi(eta) = f(theta + u * I_{P:S} eta) at eta = 0, for a direction u [P].

        By Taylor series through the network (`sobench.objective.taylor.series`): one gradient, and at most two forward passes for each of the S
        groups. Where groups part a tensor, or the model does what has no rule there: by S products with the Hessian along
        the groups, and a third derivative of each. No P x P object, and never a backward pass for each of S^2 pairs.
        """
        self.cost.used.add("summary")
        theta = self.space.get() if at is None else at.detach()
        whole_tensors = partition.tensors is not None
        found = self._by_series(theta, u, partition) if whole_tensors and self.network.has_series else None
        if found is None:
            found = self._by_products(theta, u, partition)
        if not self.l2:
            return found
        slope, bend = partition.sums(theta * u), partition.sums(u * u)
        return Summary(found.first + self.l2 * slope, found.second + self.l2 * torch.diag(bend), found.third)

    def _by_series(self, theta: Tensor, u: Tensor, partition: Partition) -> Summary | None:
        """None, from then on at once, for a network with an operation that has no rule."""
        leaves = tuple(p.requires_grad_() for p in self.space.unflatten(theta.detach()))
        directions = self.space.unflatten(u)
        buffers = self.network.buffers() if self.network.writes_buffers else None
        with torch.enable_grad(), self._noise():
            with series.Tape() as tape:
                z = self.network(self.batch.inputs, leaves, buffers)
            loss = self.loss_function(z, self.batch.targets)
        self.cost.forward(len(self))
        self.network.has_series = series.known(RULES, tape.operations, leaves)
        if not self.network.has_series:
            return None
        outputs = [operation.output for operation in tape.operations]
        grads = torch.autograd.grad(loss, [*leaves, *outputs], materialize_grads=True)
        self.cost.backward(len(self))
        moves = {id(p): move for p, move in zip(leaves, zip(partition.tensors, directions))}
        with torch.no_grad():
            total = series.series(RULES, tape.operations, list(grads[len(leaves) :]), moves, len(partition))
            self._add_loss(total, z.detach(), total.jets[id(z)])
        self.cost.jets(len(self), columns=len(partition))
        g = self.space.flatten(grads[: len(leaves)])
        return Summary(partition.sums(g * u), total.hessian, total.third)

    def _add_loss(self, total: series.Series, z: Tensor, jet: series.Jet) -> None:
        """The last operation is the loss: its Hessian H_z in the outputs, and the derivative of H_z along z'."""
        loss, samples, K = self.loss_function, len(self), len(jet.groups)
        v = jet.first.flatten(0, 1)
        targets = self.batch.targets.repeat(K, *[1] * (self.batch.targets.dim() - 1))
        with torch.enable_grad():
            outputs = z.repeat(K, 1).requires_grad_()
            Hv = loss.hessian_product(outputs, targets, v)
            bent = (Hv * v).sum()
            slope = torch.autograd.grad(bent, outputs)[0] if bent.requires_grad else torch.zeros_like(v)
        Hv = Hv.detach().view_as(jet.first)
        hessian = Hv.flatten(1) @ jet.first.flatten(1).T
        third = (slope.view_as(jet.first) * jet.first + 3 * Hv * jet.second).flatten(1).sum(1)
        total.add(jet.groups, hessian / samples, third / samples)

    def _by_products(self, theta: Tensor, u: Tensor, partition: Partition) -> Summary:
        buffers = self.network.buffers() if self.network.writes_buffers else None
        with torch.enable_grad(), self._noise(), _Elementary():
            eta = u.new_zeros(len(partition), requires_grad=True)
            leaves = self.space.unflatten(theta + u * partition.spread(eta))
            loss = self.loss_function(self.network(self.batch.inputs, leaves, buffers), self.batch.targets)
            (first,) = torch.autograd.grad(loss, eta, create_graph=True)
            rows = [torch.autograd.grad(slope, eta, create_graph=True)[0] for slope in first]
            third = [_derivative(row[s], eta)[s] for s, row in enumerate(rows)]
        self.cost.forward(len(self))
        self.cost.backward(len(self))
        self.cost.product(len(self), columns=len(partition))
        self.cost.third(len(self), columns=len(partition))
        return Summary(first.detach(), torch.stack(rows).detach(), torch.stack(third).detach())


class _Elementary(TorchFunctionMode):
    """Inside, batch normalisation is made of sums and products: torch's own can be differentiated twice, not three times."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        return (batch_norm if func is F.batch_norm else func)(*args, **(kwargs or {}))


def _derivative(y: Tensor, x: Tensor) -> Tensor:
    """dy/dx; 0 where y does not depend on x."""
    (found,) = torch.autograd.grad(y, x, retain_graph=True, allow_unused=True) if y.requires_grad else (None,)
    return torch.zeros_like(x) if found is None else found
