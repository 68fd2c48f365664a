"""Second and third derivatives of the loss along S directions at once, by Taylor series through the network.

With phi(eta) = f(theta + sum_s eta_s u_s), u_s the part of u that lies in group s, the summary of a partition is

    phi_s = d phi / d eta_s        phi_st = d^2 phi / d eta_s d eta_t        phi_sss = d^3 phi / d eta_s^3        at eta = 0

A network is a list of operations y = F(x, W). Let w be the gradient of the loss at y (one backward pass), and x', x'' the first
and second derivatives of x along a direction (a *jet*: two forward passes; nothing before its first layer). Since w has what comes
after F, each operation adds its own curvature and no more:

    phi_st  += w . F''[x'_s, x'_t]               phi_sss += w . (F'''[x', x', x'] + 3 F''[x', x''])
    y' = F'[x']                                  y'' = F'[x''] + F''[x', x']

where x stands for everything that moves, (x, W), and W'' = 0. So S directions cost one gradient and at most 2 S forward passes,
where S Hessian-vector products cost 4 S, and S third derivatives by a third backward pass 8 S more.

The operations are found by running the model (a torch function mode); `sobench.objective.taylor.rules` has their derivatives, and `known` says
whether it has those of all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode


class Jet(NamedTuple):
    """x' and x'' [K, *x.shape] along the K directions that have come into play so far, the groups in order."""

    groups: tuple[int, ...]
    first: Tensor
    second: Tensor

    def through(self, linear: Callable[[Tensor], Tensor]) -> Jet:
        """The jet of a function that is linear in x, applied once to all, [2 K N, ...]."""
        parts = torch.cat([self.first, self.second])
        moved = linear(parts.flatten(0, 1))
        first, second = moved.view(parts.shape[:2] + moved.shape[1:]).chunk(2)
        return Jet(self.groups, first, second)

    def index(self, group: int) -> int | None:
        return self.groups.index(group) if group in self.groups else None


class Operation(NamedTuple):
    """y = function(*args, **kwargs), as it was called."""

    function: Callable
    args: tuple
    kwargs: dict[str, Any]
    output: Tensor

    @property
    def inputs(self) -> list[int]:
        """The ids of what it was given."""
        return [id(x) for x in (*self.args, *self.kwargs.values())]


class Tape(TorchFunctionMode):
    """Inside, every torch function whose result depends on the parameters is written down."""

    def __init__(self):
        super().__init__()
        self.operations: list[Operation] = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        output = func(*args, **kwargs)
        if isinstance(output, Tensor) and output.requires_grad:
            self.operations.append(Operation(func, args, kwargs, output))
        return output


@dataclass
class Series:
    """What the operations add up to. moves: for the id of each parameter its group, and its part of u."""

    moves: dict[int, tuple[int, Tensor]]
    hessian: Tensor
    third: Tensor
    jets: dict[int, Jet] = field(default_factory=dict)

    def jet(self, x: Any) -> Jet | None:
        return self.jets.get(id(x))

    def add(self, groups: Sequence[int], hessian: Tensor, third: Tensor) -> None:
        """phi_st += hessian [K, K] and phi_sss += third [K] for these groups."""
        index = torch.tensor(groups).to(hessian.device, non_blocking=True)
        self.hessian[index[:, None], index] += hessian
        self.third[index] += third


def known(rules: dict[Callable, Callable], operations: list[Operation], parameters: Sequence[Tensor]) -> bool:
    """Whether everything that depends on the parameters has a rule, and nothing was written in place."""
    moving = {id(p) for p in parameters}
    for operation in operations:
        if not moving.isdisjoint(operation.inputs):
            if operation.function not in rules or id(operation.output) in moving:
                return False
            moving.add(id(operation.output))
    return True


def series(
    rules: dict[Callable, Callable], operations: list[Operation], adjoints: list[Tensor], moves, S: int
) -> Series:
    """phi_st [S, S] and phi_sss [S] of all operations, without the loss's own, in the precision of the parameters.

    adjoints: the gradient of the loss at the output of each. All are `known`.
    """
    total = Series(moves, adjoints[0].new_zeros(S, S), adjoints[0].new_zeros(S))
    last_use = {x: i for i, operation in enumerate(operations) for x in operation.inputs}
    for i, (operation, w) in enumerate(zip(operations, adjoints, strict=True)):
        if not any(x in total.jets or x in moves for x in operation.inputs):
            continue
        y = operation.output
        total.jets[id(y)] = rules[operation.function](total, w, y, *operation.args, **operation.kwargs)
        for x in operation.inputs:
            if last_use[x] == i:
                total.jets.pop(x, None)
    return total
