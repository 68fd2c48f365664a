"""Tests of partitions of the parameters: their groups, their sums against dense matrices, and refused arguments."""

import pytest
import torch
from torch import nn

from sobench.config.rules import PARTITIONS
from sobench.errors import UsageError
from sobench.objective.parameter_space import ParameterSpace
from sobench.objective.taylor.partition import DISCRETE, NAMED, make_partition


def space(widths=(3, 2, 2)):
    layers = [nn.Linear(a, b).double() for a, b in zip(widths, widths[1:])]
    return ParameterSpace(nn.Sequential(*layers).named_parameters())


NAMES = ("0.weight", "0.bias", "1.weight", "1.bias")
GROUPS = {  # partition: the groups of the four tensors
    "canonical": NAMES,
    "trivial": ("all",) * 4,
    "kinds": ("weights", "biases", "weights", "biases"),
    "depth": ("0", "0", "1", "1"),
}


@pytest.mark.parametrize("name", [*GROUPS, "own"])
def test_groups(name):
    own = {"first": ["0.*"], "bias": ["1.bias"], "rest": ["1.w?ight"]}
    groups = ("first", "first", "rest", "bias") if name == "own" else GROUPS[name]
    partition = make_partition(space(), own if name == "own" else name)
    assert [partition.names[group] for group in partition.tensors] == list(groups) and set(partition.names) == set(
        groups
    )
    expected = [group for group, size in zip(groups, (6, 2, 4, 2)) for _ in range(size)]
    assert [partition.names[label] for label in partition.labels] == expected


def test_discrete():
    partition = make_partition(space(), "discrete")
    assert len(partition) == 14 and partition.labels.tolist() == list(range(14)) and partition.tensors is None


@pytest.mark.parametrize("name", [*GROUPS, "discrete"])
def test_sums_and_spread_are_the_partition_matrix_and_its_transpose(name):
    partition = make_partition(space(), name)
    matrix = torch.zeros(len(partition), 14, dtype=torch.float64)
    matrix[partition.labels, torch.arange(14)] = 1
    v, eta = torch.randn(14, dtype=torch.float64), torch.randn(len(partition), dtype=torch.float64)
    torch.testing.assert_close(partition.sums(v), matrix @ v, rtol=1e-14, atol=1e-14)
    assert torch.equal(partition.spread(eta), matrix.T @ eta)


@pytest.mark.parametrize(
    "partition, message",
    [
        ("canonic", "got 'canonic', allowed: canonical | trivial | kinds | depth | discrete, or {group: "),
        ({"a": ["0.*"]}, "1.weight is in no group; allowed: groups that have every tensor once"),
        ({"a": ["0.*", "1.*"], "b": ["*.bias"]}, "0.bias is in a and b; allowed"),
        ({"a": ["*"], "b": ["2.*"]}, "no tensor is in b; allowed: names of 0.weight, 0.bias, 1.weight, 1.bias"),
    ],
)
def test_refused(partition, message):
    with pytest.raises(UsageError) as caught:
        make_partition(space(), partition)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_the_names_are_those_that_a_configuration_may_say():
    assert set(PARTITIONS) == {*NAMED, "discrete"}


def test_discrete_is_for_tiny_models():
    with pytest.raises(UsageError, match=f"each of 1,071 parameters; allowed: at most {DISCRETE:,} of them"):
        make_partition(space((50, 21)), "discrete")
