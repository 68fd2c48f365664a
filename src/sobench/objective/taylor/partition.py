"""Partitions of the parameters into S groups: the matrix I_{S:P} of the grouped Newton method, and the names of its rows.

P. Wolinski, Gathering and Exploiting Higher-Order Information when Training Large Structured Models, sections 3 to 5: the
canonical partition has a group for each tensor, the trivial one a single group, the discrete one a group for each number.
The others are coarser than the canonical one, for networks of many tensors (its appendices H and J).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property

import torch
from torch import Tensor

from sobench.errors import UsageError
from sobench.objective.parameter_space import ParameterSpace

DISCRETE = 1000
"""The largest S = P that is taken: a product, and a third derivative, for each."""


@dataclass(frozen=True)
class Partition:
    """names: of the S groups. tensors: for each tensor of theta the group that it belongs to; None where every number is a
    group of its own."""

    space: ParameterSpace
    names: tuple[str, ...]
    tensors: tuple[int, ...] | None

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def labels(self) -> Tensor:
        """The group of each number of theta, [P]."""
        device = self.space.parameters[0].device
        if self.tensors is None:
            return torch.arange(self.space.size, device=device)
        sizes = torch.tensor(self.space.sizes, device=device)
        return torch.tensor(self.tensors, device=device).repeat_interleave(sizes, output_size=self.space.size)

    def sums(self, v: Tensor) -> Tensor:
        """I_{S:P} v, [S]: the sum of v [P] over each group."""
        return v.new_zeros(len(self)).index_add_(0, self.labels, v)

    def spread(self, eta: Tensor) -> Tensor:
        """I_{P:S} eta, [P]: to each number of theta what eta [S] has for its group."""
        return eta[self.labels]


def canonical(name: str) -> str:
    return name


def trivial(name: str) -> str:
    return "all"


def kinds(name: str) -> str:
    return "biases" if name.rpartition(".")[2].startswith("bias") else "weights"


def depth(name: str) -> str:
    return name.rpartition(".")[0]


NAMED: dict[str, Callable[[str], str]] = {"canonical": canonical, "trivial": trivial, "kinds": kinds, "depth": depth}
"""A partition's name: the group of a tensor, by the tensor's name. depth: a group for each layer, weights and bias together."""


def make_partition(space: ParameterSpace, partition: str | Mapping[str, Sequence[str]]) -> Partition:
    """A partition by its name, or groups {name: [names of tensors, * and ? standing for any]} of one's own.

    Raises UsageError for an unknown name, for a tensor that is in two groups or in none, for a group without tensors, and for
    `discrete` of more than DISCRETE parameters.
    """
    if partition == "discrete":
        if space.size > DISCRETE:
            raise UsageError(
                f"partition: discrete has a group for each of {space.size:,} parameters; "
                f"allowed: at most {DISCRETE:,} of them, or {' | '.join(NAMED)}"
            )
        return Partition(space, tuple(str(i) for i in range(space.size)), None)
    if isinstance(partition, str):
        if partition not in NAMED:
            raise UsageError(
                f"partition: got {partition!r}, allowed: {' | '.join([*NAMED, 'discrete'])}, "
                "or {group: [names of tensors]}"
            )
        of_tensors = [NAMED[partition](name) for name in space.names]
    else:
        of_tensors = [_owner(name, partition) for name in space.names]
        if empty := set(partition) - set(of_tensors):
            raise UsageError(
                f"partition: no tensor is in {', '.join(sorted(empty))}; allowed: names of {_listed(space)}"
            )
    names = tuple(dict.fromkeys(of_tensors))
    return Partition(space, names, tuple(names.index(group) for group in of_tensors))


def _owner(name: str, groups: Mapping[str, Sequence[str]]) -> str:
    """The one group whose patterns a tensor's name fits."""
    owners = [group for group, patterns in groups.items() if any(fnmatchcase(name, pattern) for pattern in patterns)]
    if len(owners) != 1:
        found = f"is in {' and '.join(owners)}" if owners else "is in no group"
        raise UsageError(f"partition: {name} {found}; allowed: groups that have every tensor once")
    return owners[0]


def _listed(space: ParameterSpace) -> str:
    return ", ".join(space.names)
