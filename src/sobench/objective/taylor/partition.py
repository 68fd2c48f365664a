"""Partitions of the parameters into S named groups: the matrix I_{S:P} of the grouped Newton method.

P. Wolinski, Gathering and Exploiting Higher-Order Information when Training Large Structured Models, sections 3 to 5:
the canonical partition has a group for each tensor, the trivial one a single group, the discrete one a group for each
entry of theta. The others are coarser than the canonical one, for networks of many tensors (appendices H and J).
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
"""The largest P for the discrete partition, which needs a product and a third derivative for each of S = P groups."""


@dataclass(frozen=True)
class Partition:
    """A partition of theta into S groups.

    names: the names of the groups.
    tensors: the group of each tensor of theta; None for the discrete partition.
    """

    space: ParameterSpace
    names: tuple[str, ...]
    tensors: tuple[int, ...] | None

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def labels(self) -> Tensor:
        """The group of each entry of theta, [P], integers."""
        device = self.space.parameters[0].device
        if self.tensors is None:
            return torch.arange(self.space.size, device=device)
        sizes = torch.tensor(self.space.sizes, device=device)
        return torch.tensor(self.tensors, device=device).repeat_interleave(sizes, output_size=self.space.size)

    def sums(self, v: Tensor) -> Tensor:
        """I_{S:P} v, [S]: the sums of v [P] over the groups."""
        return v.new_zeros(len(self)).index_add_(0, self.labels, v)

    def spread(self, eta: Tensor) -> Tensor:
        """I_{P:S} eta, [P]: for each entry of theta the entry of eta [S] for its group."""
        return eta[self.labels]


def canonical(name: str) -> str:
    """A group for each tensor."""
    return name


def trivial(name: str) -> str:
    """A single group."""
    return "all"


def kinds(name: str) -> str:
    """Two groups, weights and biases."""
    return "biases" if name.rpartition(".")[2].startswith("bias") else "weights"


def depth(name: str) -> str:
    """A group for each layer, weights and bias together."""
    return name.rpartition(".")[0]


NAMED: dict[str, Callable[[str], str]] = {"canonical": canonical, "trivial": trivial, "kinds": kinds, "depth": depth}
"""Name of a partition -> the group of a tensor, by the name of the tensor."""


def make_partition(space: ParameterSpace, partition: str | Mapping[str, Sequence[str]]) -> Partition:
    """The partition of that name, or of the given groups {name: [names of tensors]}, with the wildcards * and ?.

    Raises UsageError for an unknown name, for a tensor in two groups or in none, for a group without tensors, and for
    `discrete` with more than DISCRETE parameters.
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
        tensor_groups = [NAMED[partition](name) for name in space.names]
    else:
        tensor_groups = [_owner(name, partition) for name in space.names]
        if empty := set(partition) - set(tensor_groups):
            raise UsageError(
                f"partition: no tensor is in {', '.join(sorted(empty))}; allowed: names of {_listed(space)}"
            )
    names = tuple(dict.fromkeys(tensor_groups))
    return Partition(space, names, tuple(names.index(group) for group in tensor_groups))


def _owner(name: str, groups: Mapping[str, Sequence[str]]) -> str:
    """The group whose patterns match the name of a tensor. Raises UsageError unless exactly one does."""
    owners = [group for group, patterns in groups.items() if any(fnmatchcase(name, pattern) for pattern in patterns)]
    if len(owners) != 1:
        groups_of_name = f"is in {' and '.join(owners)}" if owners else "is in no group"
        raise UsageError(f"partition: {name} {groups_of_name}; allowed: groups that have every tensor once")
    return owners[0]


def _listed(space: ParameterSpace) -> str:
    """The names of all tensors, for a message."""
    return ", ".join(space.names)
