"""ESGD against its formulas with the Hessian of plain autograd, dense, in float64."""

import math
from functools import partial

import objectives
import pytest
import torch
from problems import Dense, error, noise
from torch import nn

from sobench import Objective
from sobench.losses import SquaredError
from sobench.optim.esgd import ESGD
from sobench.training.streams import Streams

STANDS = 1e-300
"""A learning rate that leaves every parameter as it is, bit for bit."""


make = partial(objectives.make, step=1)


def probe(f, step, device):
    generator = Streams(0, device).at(step).generator("probe")
    return torch.randn(f.space.size, generator=generator, dtype=torch.float64, device=device)


def test_over_many_steps_the_scale_is_the_norm_of_each_row_within_the_sampling_error(device):
    """(H v)_i^2 has mean ||H_i||^2 and variance 2 ||H_i||^4: entries of D / n within 5 sqrt(2 / n) of the mean."""
    p, f = make(device=device, l2=0.1)
    H, n, theta = Dense(p).hessian, 800, p.theta
    optimizer = ESGD(p.model.parameters(), lr=STANDS)
    for k in range(n):
        f.streams = Streams(0, device).at(k + 1)
        optimizer.step(f)
    ratio = optimizer.global_state["D"] / optimizer.global_state["count"] / (H**2).sum(1)
    assert torch.equal(p.theta, theta) and optimizer.global_state["count"] == n
    assert ((ratio - 1).abs() < 5 * math.sqrt(2 / n)).all()


@pytest.mark.parametrize("period", [1, 3])
@pytest.mark.parametrize("model", ["mlp_tanh", "conv_maxpool", "conv_avgpool", "batchnorm", "batchnorm_conv"])
def test_steps_are_the_algorithm_by_hand(model, period, device):
    p, f = make(model, "squared_error", device, l2=0.1)
    optimizer, D, count = ESGD(p.model.parameters(), lr=0.05, damping=0.2, curvature_period=period), 0.0, 0
    for k in range(1, 6):
        f.streams = Streams(0, device).at(k)
        dense, theta = Dense(p), p.theta
        if k in range(1, 6, period):
            D, count = D + (dense.hessian @ probe(f, k, device)) ** 2, count + 1
        expected = theta - 0.05 * dense.gradient.detach() / ((D / count).sqrt() + 0.2)
        assert error(optimizer.step(f), dense.value) < 1e-12
        assert error(p.theta, expected) < 1e-12


def test_infinite_damping_is_scaled_gradient_descent(device):
    for damping in (1e3, 1e6):
        p, f = make(device=device)
        theta, g = p.theta, Dense(p).gradient.detach()
        ESGD(p.model.parameters(), lr=0.7, damping=damping).step(f)
        assert error((p.theta - theta) * damping / 0.7, -g) < 5 / damping + 1e-6


def test_a_badly_scaled_quadratic_is_equilibrated(device):
    """Uncoupled inputs of scales 1 to 1000: H is diagonal, so with the exact D every weight moves at one speed."""
    scales = torch.tensor([1.0, 10.0, 100.0, 1000.0], dtype=torch.float64, device=device)
    model = nn.Linear(4, 1, bias=False).double().to(device)
    start = noise((1, 4), 3).to(device)
    with torch.no_grad():
        model.weight.copy_(start)
    f = Objective(
        model, SquaredError(), (torch.diag(scales), torch.zeros(4, 1).to(scales)), streams=Streams(0, device).at(1)
    )
    optimizer = ESGD(model.parameters(), lr=1.0, damping=0.0)
    v = probe(f, 1, device)
    optimizer.step(f)
    assert error(model.weight, start * (1 - 1 / v.abs())) < 1e-12
