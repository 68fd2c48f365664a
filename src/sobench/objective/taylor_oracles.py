"""Derivatives of the loss along the groups of a partition: by Taylor series through the network, or by products."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from sobench.objective.forward_pass import LossFunction
from sobench.objective.holomorphic.layers import batch_norm
from sobench.objective.parameter_space import ParameterSpace
from sobench.objective.taylor import series
from sobench.objective.taylor.partition import Partition
from sobench.objective.taylor.rules import RULES

Outputs = Callable[[tuple[Tensor, ...]], Tensor]
"""The outputs [N, C] of the batch at given parameters, one tensor each."""


class Summary(NamedTuple):
    """D^(1) [S], D^(2) [S, S] and the diagonal of D^(3) [S] along u, of a partition into S groups (Wolinski, equations 5, 6)."""

    first: Tensor
    second: Tensor
    third: Tensor


def by_series(
    outputs_at: Outputs,
    loss: LossFunction,
    targets: Tensor,
    space: ParameterSpace,
    theta: Tensor,
    u: Tensor,
    partition: Partition,
) -> Summary | None:
    """The derivatives along u [P] at theta [P], without a penalty; None for a network with an operation that has no rule.

    One forward and one backward pass give the derivatives of the loss in what each operation puts out; first and second
    derivatives of each operation along the groups follow, forward, one group after the other.
    """
    leaves = tuple(p.requires_grad_() for p in space.unflatten(theta.detach()))
    with torch.enable_grad():
        with series.Tape() as tape:
            z = outputs_at(leaves)
        value = loss(z, targets)
    if not series.known(RULES, tape.operations, leaves):
        return None
    made = [operation.output for operation in tape.operations]
    grads = torch.autograd.grad(value, [*leaves, *made], materialize_grads=True)
    moves = {id(p): move for p, move in zip(leaves, zip(partition.tensors or (), space.unflatten(u)))}
    with torch.no_grad():
        total = series.series(RULES, tape.operations, list(grads[len(leaves) :]), moves, len(partition))
        _add_loss(total, loss, targets, z.detach(), total.jets[id(z)])
    g = space.flatten(grads[: len(leaves)])
    return Summary(partition.sums(g * u), total.hessian, total.third)


def _add_loss(total: series.Series, loss: LossFunction, targets: Tensor, z: Tensor, jet: series.Jet) -> None:
    """The last operation is the loss: its Hessian H_z in the outputs, and the derivative of H_z along z'."""
    samples, K = len(z), len(jet.groups)
    v = jet.first.flatten(0, 1)
    repeated = targets.repeat(K, *[1] * (targets.dim() - 1))
    with torch.enable_grad():
        outputs = z.repeat(K, 1).requires_grad_()
        Hv = loss.hessian_product(outputs, repeated, v)
        bent = (Hv * v).sum()
        slope = torch.autograd.grad(bent, outputs)[0] if bent.requires_grad else torch.zeros_like(v)
    Hv = Hv.detach().view_as(jet.first)
    hessian = Hv.flatten(1) @ jet.first.flatten(1).T
    third = (slope.view_as(jet.first) * jet.first + 3 * Hv * jet.second).flatten(1).sum(1)
    total.add(jet.groups, hessian / samples, third / samples)


def by_products(
    outputs_at: Outputs,
    loss: LossFunction,
    targets: Tensor,
    space: ParameterSpace,
    theta: Tensor,
    u: Tensor,
    partition: Partition,
) -> Summary:
    """The same by S products with the Hessian along the groups, and a third derivative of each."""
    with torch.enable_grad(), _Elementary():
        eta = u.new_zeros(len(partition), requires_grad=True)
        value = loss(outputs_at(space.unflatten(theta + u * partition.spread(eta))), targets)
        (first,) = torch.autograd.grad(value, eta, create_graph=True)
        rows = [torch.autograd.grad(slope, eta, create_graph=True)[0] for slope in first]
        third = [_derivative(row[s], eta)[s] for s, row in enumerate(rows)]
    return Summary(first.detach(), torch.stack(rows).detach(), torch.stack(third).detach())


class _Elementary(TorchFunctionMode):
    """Inside, batch normalisation is made of sums and products: torch's own can be differentiated twice, not three times."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        return (batch_norm if func is F.batch_norm else func)(*args, **(kwargs or {}))


def _derivative(y: Tensor, x: Tensor) -> Tensor:
    """dy/dx; 0 where y does not depend on x."""
    (found,) = torch.autograd.grad(y, x, retain_graph=True, allow_unused=True) if y.requires_grad else (None,)
    return torch.zeros_like(x) if found is None else found
