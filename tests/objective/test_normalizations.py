"""Normalizations as sums and products: torch's values, and third derivatives that differences of the loss confirm."""

import pytest
import torch
import torch.nn.functional as F
from problems import noise
from torch import nn
from torch.nn.utils.parametrizations import weight_norm as weight_normalized

from sobench import Objective
from sobench.losses import CrossEntropy
from sobench.objective import make_partition
from sobench.objective.normalizations import FORMS, SumsAndProducts

SHAPE = (6, 4, 3)
w, b = noise((4,), 1), noise((4,), 2)
mean, variance = noise((4,), 3), 0.5 + noise((4,), 4).square()
CALLS = {
    "layer_norm": lambda x: F.layer_norm(x, [3], noise((3,), 5), noise((3,), 6)),
    "layer_norm over two dimensions, plain": lambda x: F.layer_norm(x, [4, 3], eps=0.1),
    "group_norm": lambda x: F.group_norm(x, 2, w, b),
    "group_norm, plain": lambda x: F.group_norm(x, 4),
    "instance_norm": lambda x: F.instance_norm(x, None, None, w, b),
    "instance_norm by running statistics": lambda x: F.instance_norm(x, mean, variance, w, b, use_input_stats=False),
    "rms_norm": lambda x: F.rms_norm(x, [3], noise((3,), 5)),
    "rms_norm, plain": lambda x: F.rms_norm(x, [4, 3], eps=0.1),
    "batch_norm": lambda x: F.batch_norm(x, None, None, w, b, training=True),
    "batch_norm by running statistics": lambda x: F.batch_norm(x, mean, variance, w, b),
    "weight_norm": lambda x: torch._weight_norm(x, x[:, :1, :1].exp(), 0),
    "weight_norm over all": lambda x: torch._weight_norm(x, x.sum().exp(), -1),
}


def test_every_form_is_called():
    assert {function.__name__.lstrip("_") for function in FORMS} <= {name.split()[0].rstrip(",") for name in CALLS}


@pytest.mark.parametrize("name", CALLS)
def test_the_values_and_gradients_are_those_of_torch(name):
    x, r = noise(SHAPE, 7).requires_grad_(), noise(SHAPE, 8)
    expected = CALLS[name](x)
    with SumsAndProducts():
        y = CALLS[name](x)
    torch.testing.assert_close(y, expected, rtol=1e-12, atol=1e-12)
    gradients = [torch.autograd.grad((out * r).sum(), x, retain_graph=True)[0] for out in (y, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-10, atol=1e-12)


def _weight_normalized() -> nn.Module:
    return nn.Sequential(weight_normalized(nn.Linear(4, 6)), nn.Tanh(), nn.Linear(6, 3))


MODELS = {
    "LayerNorm": lambda: nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6), nn.Tanh(), nn.Linear(6, 3)),
    "GroupNorm": lambda: nn.Sequential(nn.Linear(4, 6), nn.GroupNorm(2, 6), nn.Tanh(), nn.Linear(6, 3)),
    "InstanceNorm1d": lambda: nn.Sequential(
        nn.Linear(4, 6),
        nn.Unflatten(1, (2, 3)),
        nn.InstanceNorm1d(2, affine=True),
        nn.Tanh(),
        nn.Flatten(),
        nn.Linear(6, 3),
    ),
    "RMSNorm": lambda: nn.Sequential(nn.Linear(4, 6), nn.RMSNorm(6), nn.Tanh(), nn.Linear(6, 3)),
    "BatchNorm1d": lambda: nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, 3)),
    "weight_norm": _weight_normalized,
}


@pytest.mark.parametrize("name", MODELS)
def test_the_summary_is_that_of_differences_of_the_loss(name):
    """Third derivatives by central differences of fourth order along each group in turn."""
    torch.manual_seed(0)
    model = MODELS[name]().double()
    f = Objective(model, CrossEntropy(), (noise((6, 4), 9), torch.arange(6) % 3))
    theta, u, partition = f.space.get(), 0.5 * noise((f.space.size,), 10), make_partition(f.space, "canonical")
    summary = f.summary(u, partition)
    for group in range(len(partition)):
        v = torch.where(partition.labels == group, u, 0)
        h = 2e-2 / v.norm()
        value = lambda t, v=v: f.loss(theta + t * v)
        third = (
            -value(3 * h) + 8 * value(2 * h) - 13 * value(h) + 13 * value(-h) - 8 * value(-2 * h) + value(-3 * h)
        ) / (8 * h**3)
        torch.testing.assert_close(summary.third[group], third, rtol=2e-3, atol=2e-5)
        second = (f.value_and_grad(theta + 1e-6 * v)[1] - f.value_and_grad(theta - 1e-6 * v)[1]) @ v / 2e-6
        torch.testing.assert_close(summary.second[group, group], second, rtol=1e-6, atol=1e-8)
