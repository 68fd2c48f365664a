"""Second and third derivatives of the loss along S directions at once, by Taylor-mode differentiation of the network.

With phi(eta) = f(theta + sum_s eta_s u_s), u_s the part of u in group s, the summary of a partition is

    phi_s = d phi / d eta_s      phi_st = d^2 phi / d eta_s d eta_t      phi_sss = d^3 phi / d eta_s^3      at eta = 0

Taylor mode propagates the coefficients of a Taylor series forward through the operations of a function. Three terms:

    tape      the list of operations that the network executed, in order
    jet       the Taylor coefficients of an intermediate result x: its derivatives x', x'' along directions
    series    the sums phi_st and phi_sss, to which each operation adds its terms

A network is a list of operations y = F(x, W). Let w be the gradient of the loss at y (one backward pass), and let x',
x'' come from two forward passes along a direction, with nothing to compute before its first layer. Since w contains the
effect of everything after F, each operation adds only its own curvature:

    phi_st  += w . F''[x'_s, x'_t]               phi_sss += w . (F'''[x', x', x'] + 3 F''[x', x''])
    y' = F'[x']                                  y'' = F'[x''] + F''[x', x']

Here x stands for everything that moves, (x, W), and W'' = 0. S directions thus cost one gradient and at most 2 S
forward passes. S Hessian-vector products would cost 4 S, and S third derivatives by a third backward pass 8 S more.

The tape is recorded by running the model in a torch function mode. `taylor.rules` has the derivatives of the
operations. `has_rules` tells whether they cover a tape.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from sobench.objective.nested import tensors_in

Moves = dict[int, tuple[int, Tensor]]
"""{id of a parameter: (its group, its part of u, shaped as the parameter)}."""


class Jet(NamedTuple):
    """The Taylor coefficients of an intermediate result x along K directions, those that x depends on.

    groups: the groups of the directions.
    first: x' [K, *x.shape].
    second: x'' [K, *x.shape].
    """

    groups: tuple[int, ...]
    first: Tensor
    second: Tensor

    def through(self, linear: Callable[[Tensor], Tensor]) -> Jet:
        """The jet of a function that is linear in x, sample by sample. It is applied once, to [2 K N, ...]."""
        parts = torch.cat([self.first, self.second])
        images = linear(parts.flatten(0, 1))
        first, second = images.view(parts.shape[:2] + images.shape[1:]).chunk(2)
        return Jet(self.groups, first, second)

    def position(self, group: int) -> int | None:
        """The index of a group among the directions; None if x does not depend on it."""
        return self.groups.index(group) if group in self.groups else None


class Operation(NamedTuple):
    """y = function(*args, **kwargs), with the arguments of the call."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    output: Tensor

    @property
    def inputs(self) -> list[int]:
        """The ids of the arguments."""
        return [id(x) for x in (*self.args, *self.kwargs.values())]

    @property
    def dependent(self) -> set[int]:
        """The ids of the arguments, also of those in lists, that depend on the parameters."""
        return {id(x) for x in tensors_in([*self.args, *self.kwargs.values()]) if x.requires_grad}


class Tape(TorchFunctionMode):
    """A context that records every torch function whose result depends on the parameters, in `operations`.

    A `torch.autograd.Function` is none, so that it is seen only where a recorded function takes its result.
    """

    def __init__(self):
        super().__init__()
        self.operations: list[Operation] = []

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        output = func(*args, **kwargs)
        results = [result for result in tensors_in([output]) if result.requires_grad]
        self.operations += [Operation(func, args, kwargs, result) for result in results]
        return output


@dataclass
class Series:
    """The sums over the operations.

    moves: {id of a parameter: (its group, its part of u)}.
    hessian: phi_st [S, S].
    third: phi_sss [S].
    jets: {id of an intermediate result: its jet}, for those that later operations use.
    """

    moves: Moves
    hessian: Tensor
    third: Tensor
    jets: dict[int, Jet] = field(default_factory=dict)

    def jet(self, x: Tensor) -> Jet:
        """The jet of an intermediate result. Raises KeyError for a tensor that has none."""
        return self.jets[id(x)]

    def add(self, groups: Sequence[int], hessian: Tensor, third: Tensor) -> None:
        """Add hessian [K, K] to phi_st and third [K] to phi_sss, for these K groups."""
        index = torch.tensor(groups).to(hessian.device, non_blocking=True)
        self.hessian[index[:, None], index] += hessian
        self.third[index] += third


Rules = Mapping[Callable[..., Any], Callable[..., Jet]]
"""torch's function -> rule(series, w, y, *arguments), which adds its terms to the series and returns the jet of y."""


def has_rules(rules: Rules, operations: list[Operation], parameters: Sequence[Tensor], outputs: Tensor) -> bool:
    """Whether every operation of a tape to these outputs has a rule for its arguments, and none worked in place.

    The rules take an intermediate result as the first argument and parameters as the others. An operation that depends
    on the parameters in any other way has no rule: `torch.cat` of a list of results, a product of two results. Nor has
    a tensor that no operation of the tape has made.
    """
    parameter_ids = {id(p) for p in parameters}
    result_ids: set[int] = set()
    for operation in operations:
        first, others, output = operation.inputs[0], operation.inputs[1:], id(operation.output)
        moves = first in result_ids or not parameter_ids.isdisjoint(others)
        misplaced = first in parameter_ids or not result_ids.isdisjoint(others)
        unknown = operation.dependent - parameter_ids - result_ids
        if operation.function not in rules or not moves or misplaced or unknown or output in result_ids:
            return False
        result_ids.add(output)
    return id(outputs) in result_ids


def series(rules: Rules, operations: list[Operation], adjoints: list[Tensor], moves: Moves, S: int) -> Series:
    """phi_st [S, S] and phi_sss [S] over all operations, without the terms of the loss, in the parameters' precision.

    operations: those of a tape for which `has_rules` is true. adjoints: the gradient of the loss at the output of each.
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
