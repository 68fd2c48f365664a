"""AdaHessian against its formulas with the Hessian of plain autograd, dense, in float64."""

import math
from functools import partial

import objectives
import pytest
import torch
from problems import Dense, error

from sobench.errors import UsageError
from sobench.objective.parameter_space import ParameterSpace
from sobench.optim.adahessian import AdaHessian, signs
from sobench.training.contract import Subject, check_memory
from sobench.training.streams import Streams

MODELS = ["mlp_tanh", "mlp_relu", "conv_maxpool", "conv_avgpool", "batchnorm", "batchnorm_conv"]


make = partial(objectives.make, step=1)


def over_kernels(p, D):
    """The mean of |D| over every kernel [i, j, :, :], sum by sum."""
    D, start = D.abs(), 0
    for q in p.model.parameters():
        if q.dim() == 4:
            size = q.shape[2] * q.shape[3]
            for first in range(start, start + q.numel(), size):
                D[first : first + size] = sum(D[first : first + size]) / size
        start += q.numel()
    return D


@pytest.mark.parametrize("model", MODELS)
def test_over_many_probes_the_diagonal_is_exact_within_the_sampling_error(model, device):
    """A probe's z_i (H z)_i has the variance sum_{j != i} H_ij^2: entries within 5 standard errors of a mean of 200."""
    p, f = make(model, device=device, l2=0.1)
    H, probes = Dense(p).hessian, 200
    D = AdaHessian(p.model.parameters(), probes=probes).squared_diagonal(f).sqrt()
    deviation = ((H**2).sum(1) - H.diagonal() ** 2).clamp(min=0).div(probes).sqrt()
    wrong = (D - over_kernels(p, H.diagonal().clone())).abs()
    assert (wrong <= over_kernels(p, 5 * deviation) + 1e-12).all()
    assert wrong.norm() < 0.3 * H.diagonal().norm()  # and so they are not loose


@pytest.mark.parametrize("model", MODELS)
def test_with_one_probe_it_is_the_absolute_product(model, device):
    p, f = make(model, device=device)
    z = signs(f.space, Streams(0, device).at(1).generator("probe"))
    D = AdaHessian(p.model.parameters()).squared_diagonal(f).sqrt()
    assert error(D, over_kernels(p, Dense(p).hessian @ z)) < 1e-12


@pytest.mark.parametrize("period", [1, 3])
@pytest.mark.parametrize("model", ["mlp_tanh", "conv_maxpool", "batchnorm_conv"])
def test_steps_are_the_algorithm_by_hand(model, period, device):
    p, f = make(model, "squared_error", device, l2=0.1)
    settings = {"lr": 0.05, "betas": (0.8, 0.95), "eps": 0.01, "hessian_power": 0.7, "probes": 2, "weight_decay": 0.3}
    optimizer = AdaHessian(p.model.parameters(), **settings, curvature_period=period)
    m, v = 0.0, 0.0
    for k in range(1, 6):
        f.streams = Streams(0, device).at(k)
        dense, theta = Dense(p), p.theta
        g = dense.gradient.detach()
        if k in range(1, 6, period):
            generator = Streams(0, device).at(k).generator("probe")
            z1, z2 = signs(f.space, generator), signs(f.space, generator)
            D = over_kernels(p, (z1 * (dense.hessian @ z1) + z2 * (dense.hessian @ z2)) / 2)
        m, v = 0.8 * m + 0.2 * g, 0.95 * v + 0.05 * D**2
        direction = (m / (1 - 0.8**k)) / ((v / (1 - 0.95**k)).sqrt() ** 0.7 + 0.01)
        assert error(optimizer.step(f), dense.value) < 1e-12
        assert error(p.theta, theta - 0.05 * (direction + 0.3 * theta)) < 1e-12
    assert ("D2" in optimizer.global_state) == (period > 1)


def test_infinite_eps_is_scaled_momentum_descent(device):
    for eps in (1e3, 1e6):
        p, f = make(device=device)
        optimizer, m = AdaHessian(p.model.parameters(), lr=0.7, betas=(0.8, 0.9), eps=eps), 0.0
        for k in range(1, 4):
            theta, g = p.theta, Dense(p).gradient.detach()
            m = 0.8 * m + 0.2 * g
            optimizer.step(f)
            assert error((p.theta - theta) * eps / 0.7, -m / (1 - 0.8**k)) < 5 / eps + 1e-6


def test_the_power_zero_takes_the_curvature_away(device):
    p, f = make(device=device)
    theta, g = p.theta, Dense(p).gradient.detach()
    AdaHessian(p.model.parameters(), lr=0.3, hessian_power=0, eps=0.5).step(f)
    assert error(p.theta, theta - 0.3 * g / 1.5) < 1e-14


def test_signs_are_fair_and_independent():
    """31 x 400 numbers: the mean, and mean products with neighbours at distances up to 70, are within 5 / sqrt(n)."""
    n = 31 * 400
    space = ParameterSpace([("w", torch.nn.Parameter(torch.zeros(n, dtype=torch.float64)))])
    z, again, other = (signs(space, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert z.shape == (n,) and z.dtype == torch.float64 and torch.equal(z.abs(), torch.ones_like(z))
    assert torch.equal(z, again)
    means = [z.mean(), (z * other).mean(), *((z[d:] * z[:-d]).mean() for d in range(1, 71))]
    assert max(abs(float(mean)) for mean in means) < 5 / math.sqrt(n - 70)
    assert (z.view(-1, 31).mean(0).abs() < 5 / math.sqrt(400)).all()


def test_memory_does_not_grow_over_500_steps(workplace):
    check_memory(Subject("adahessian"), steps=500)


@pytest.mark.parametrize(
    "setting", [{"betas": (0.9, 1.0)}, {"betas": (0.9,)}, {"hessian_power": 1.5}, {"probes": 0}, {"eps": -1}]
)
def test_what_is_not_allowed_is_refused_by_name(setting):
    with pytest.raises(UsageError, match=f"^{next(iter(setting))}: got .*, allowed: "):
        AdaHessian(torch.nn.Linear(2, 2).parameters(), **setting)
