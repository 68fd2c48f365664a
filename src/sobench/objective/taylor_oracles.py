"""Derivatives of the loss along the groups of a partition: by Taylor mode through the network, or by products."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from sobench.objective.forward_pass import LossFunction, differentiating
from sobench.objective.normalizations import SumsAndProducts
from sobench.objective.parameter_space import ParameterSpace
from sobench.objective.taylor import series
from sobench.objective.taylor.partition import Partition
from sobench.objective.taylor.rules import RULES

Outputs = Callable[[tuple[Tensor, ...]], Tensor]
"""Parameters, one tensor each -> the outputs [N, C] of the batch."""


class Summary(NamedTuple):
    """D^(1) [S], D^(2) [S, S] and the diagonal of D^(3) [S] along u, for S groups (Wolinski, equations 5 and 6)."""

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
    """The derivatives along u [P] at theta [P], without the penalty; None if an operation of the network has no rule.

    One forward and one backward pass give the gradient of the loss at the output of each operation. The first and
    second derivatives of each operation along the groups follow in forward order.
    """
    leaves = tuple(p.requires_grad_() for p in space.unflatten(theta.detach()))
    with torch.enable_grad():
        with series.Tape() as tape:
            z = outputs_at(leaves)
        value = loss(z, targets)
    if not series.has_rules(RULES, tape.operations, leaves, z):
        return None
    outputs = [operation.output for operation in tape.operations]
    grads = torch.autograd.grad(value, [*leaves, *outputs], materialize_grads=True)
    moves = {id(p): move for p, move in zip(leaves, zip(partition.tensors or (), space.unflatten(u)))}
    with torch.no_grad():
        total = series.series(RULES, tape.operations, list(grads[len(leaves) :]), moves, len(partition))
        _add_loss(total, loss, targets, z.detach(), total.jet(z))
    g = space.flatten(grads[: len(leaves)])
    return Summary(partition.sums(g * u), total.hessian, total.third)


def _add_loss(total: series.Series, loss: LossFunction, targets: Tensor, z: Tensor, jet: series.Jet) -> None:
    """Add the terms of the last operation, the loss: its Hessian H_z in the outputs, and that Hessian's derivative."""
    samples, K = len(z), len(jet.groups)
    v = jet.first.flatten(0, 1)
    repeated = targets.repeat(K, *[1] * (targets.dim() - 1))
    with torch.enable_grad():
        outputs = z.repeat(K, 1).requires_grad_()
        Hv = loss.hessian_product(outputs, repeated, v)
        vHv = (Hv * v).sum()
        slope = torch.autograd.grad(vHv, outputs)[0] if vHv.requires_grad else torch.zeros_like(v)
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
    """The derivatives of `by_series`, by S Hessian products along the groups and a third derivative of each."""
    with torch.enable_grad(), SumsAndProducts(), differentiating():
        eta = u.new_zeros(len(partition), requires_grad=True)
        value = loss(outputs_at(space.unflatten(theta + u * partition.spread(eta))), targets)
        (first,) = torch.autograd.grad(value, eta, create_graph=True)
        rows = [torch.autograd.grad(slope, eta, create_graph=True)[0] for slope in first]
        third = [_derivative(row[s], eta)[s] for s, row in enumerate(rows)]
    return Summary(first.detach(), torch.stack(rows).detach(), torch.stack(third).detach())


def _derivative(y: Tensor, x: Tensor) -> Tensor:
    """dy/dx, shaped as x, for a scalar y; 0 if y does not depend on x."""
    if not y.requires_grad:
        return torch.zeros_like(x)
    return torch.autograd.grad(y, x, retain_graph=True, materialize_grads=True)[0]
