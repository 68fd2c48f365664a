"""Tests of the map between R^P and the parameters of a model: a bijection in the order of model.parameters()."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import Partial, tied
from torch import nn

from sobench.objective.parameter_space import ParameterSpace

shapes = st.lists(st.lists(st.integers(0, 3), max_size=3).map(tuple), min_size=1, max_size=5)


@settings(max_examples=50, deadline=None)
@given(shapes=shapes, lead=st.lists(st.integers(0, 3), max_size=2).map(tuple))
def test_flatten_and_unflatten_are_inverse(shapes, lead):
    space = ParameterSpace([(f"p{i}", torch.zeros(shape, requires_grad=True)) for i, shape in enumerate(shapes)])
    assert space.size == sum(torch.Size(shape).numel() for shape in shapes)
    vector = torch.randn(*lead, space.size)
    parts = space.unflatten(vector)
    assert [tuple(p.shape) for p in parts] == [lead + shape for shape in shapes]
    if not lead:
        assert torch.equal(space.flatten(parts), vector)
    if len(lead) == 1:
        assert torch.equal(space.flatten_batch(parts), vector)
    assert all(torch.equal(named, part) for named, part in zip(space.named(vector).values(), parts))


def test_the_order_is_that_of_the_models_parameters(device):
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 1)).to(device)
    space = ParameterSpace(model.named_parameters())
    assert torch.equal(space.get(), nn.utils.parameters_to_vector(model.parameters()).detach())
    assert space.names == tuple(name for name, _ in model.named_parameters())
    assert space.get().device.type == device.type


def test_unflatten_gives_views_also_of_a_transposed_matrix():
    space = ParameterSpace(nn.Linear(2, 3).named_parameters())
    V = torch.zeros(space.size, 4)
    weight, bias = space.unflatten(V.T)
    weight[1, 2, 0], bias[3, 1] = 5.0, 7.0
    assert V[4, 1] == 5 and V[7, 3] == 7


def test_get_is_a_copy_and_assign_writes_in_place(device):
    model = nn.Linear(2, 3).to(device)
    space, weight = ParameterSpace(model.named_parameters()), model.weight
    before = space.get()
    space.assign_(before + 1)
    assert model.weight is weight and model.weight.requires_grad
    assert torch.equal(space.get(), before + 1) and not torch.equal(before, space.get())


def test_assign_does_not_keep_the_vector():
    space = ParameterSpace(nn.Linear(2, 3).named_parameters())
    theta = torch.ones(space.size)
    space.assign_(theta)
    theta.zero_()
    assert torch.equal(space.get(), torch.ones(space.size))


@pytest.mark.parametrize(
    ("model", "names"),
    [
        (Partial(), ("unused.weight", "unused.bias", "last.weight", "last.bias")),
        (tied(), ("0.weight", "0.bias", "2.bias")),
    ],
    ids=["frozen", "tied"],
)
def test_trainable_parameters_once_each(model, names):
    space = ParameterSpace(model.named_parameters())
    assert space.names == names
    assert space.size == sum(p.numel() for p in model.parameters() if p.requires_grad)


@pytest.mark.parametrize("wrong", [(7,), (9,), (3, 7), (0,)])
def test_a_vector_of_another_length(wrong):
    space = ParameterSpace([("w", torch.zeros(2, 4, requires_grad=True))])
    with pytest.raises(ValueError, match=f"expected a vector of 8 parameters, got {wrong[-1]}"):
        space.unflatten(torch.zeros(wrong))


@pytest.mark.parametrize("alpha", [1.0, -0.5])
def test_a_multiple_of_a_vector_is_added_in_place(alpha, device):
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1)).to(device)
    space = ParameterSpace(model.named_parameters())
    theta, v = space.get(), torch.arange(float(space.size), device=device)
    space.add_(v, alpha=alpha)
    torch.testing.assert_close(space.get(), theta + alpha * v)
    assert all(p.grad is None and p.requires_grad for p in model.parameters()) and v[-1] == space.size - 1
