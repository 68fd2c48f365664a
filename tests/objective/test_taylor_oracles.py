"""Tests of derivatives along groups of parameters against dense ones of torch.func, by both implementations."""

import math

import pytest
import torch
import torch.nn.functional as F
from objectives import make
from problems import LOSSES, MODELS, Dense, Source, error, noise, pairs
from torch import nn
from torch.func import functional_call, grad, hessian, jacfwd

from sobench import Objective
from sobench.losses import CrossEntropy
from sobench.models.lenet import lenet
from sobench.objective.taylor.partition import make_partition

COUPLED = ("batchnorm", "batchnorm_conv", "batchnorm_untracked_eval")
BY_HAND = ("canonical", "trivial", "kinds", "depth")


def dense(p, f, u, partition, theta=None):
    """phi_s, phi_st and phi_sss of phi(eta) = f(theta + u * I eta), by differentiating it three times densely."""
    return of_groups(derivatives(p, f, u, partition, theta), torch.eye(len(partition)).to(u))


def of_groups(derivatives, G):
    """phi_s, phi_st and phi_sss along groups of the variables, rows of G, given all first to third derivatives."""
    first, second, third = derivatives
    return G @ first, G @ second @ G.T, torch.einsum("ijk,si,sj,sk->s", third, G, G, G)


def derivatives(p, f, u, partition, theta=None):
    """All first, second and third derivatives of that phi at 0."""
    theta = f.space.get() if theta is None else theta
    buffers = {name: b.clone() for name, b in p.model.named_buffers()}

    def phi(eta):
        at, state, start = theta + u * eta[partition.labels], dict(buffers), 0
        for name, shape in zip(f.space.names, f.space.shapes):
            state[name] = at[start : start + math.prod(shape)].view(shape)
            start += math.prod(shape)
        z = functional_call(p.model, state, (p.batch[0],))
        return p.formula(z, p.batch[1]).mean() + 0.5 * p.l2 * (at @ at)

    eta = u.new_zeros(len(partition))
    return grad(phi)(eta), hessian(phi)(eta), jacfwd(hessian(phi))(eta)


def close(actual, expected):
    for i, (a, b) in enumerate(zip(actual, expected)):
        scale = b.norm()
        assert (a - b).norm() <= 1e-10 * scale + 1e-13, (i, float((a - b).norm()), float(scale))


@pytest.mark.parametrize(("model", "loss"), pairs(sorted(MODELS.keys() - {"dropout", *COUPLED}), list(LOSSES)))
def test_against_dense_derivatives(model, loss, device):
    p, f = make(model, loss, device, l2=0.1)
    u = noise(f.space.get().shape, 3).to(device)
    entries = make_partition(f.space, "discrete")
    dense = derivatives(p, f, u, entries)  # of every entry: a group has the sums over its entries
    for partition in (entries, *(make_partition(f.space, name) for name in BY_HAND)):
        G = torch.zeros(len(partition), len(entries)).to(u)
        G[partition.labels, entries.labels] = 1.0
        close(f.summary(u, partition), of_groups(dense, G))


@pytest.mark.parametrize("model", COUPLED)
def test_samples_that_are_coupled(model, device):
    """BatchNorm has no Taylor rule: it is differentiated by products, and no buffer is written.

    torch's own BatchNorm has no third derivative. The third is tested by differences of the second.
    """
    p, f = make(model, "cross_entropy", device)
    u, partition = noise(f.space.get().shape, 3).to(device), make_partition(f.space, "canonical")
    before = [b.clone() for b in p.model.buffers()]
    summary = f.summary(u, partition)
    assert all(torch.equal(b, c) for b, c in zip(p.model.buffers(), before))

    def bend(theta):
        at = Dense(p, theta)
        U = torch.zeros(len(partition), len(u)).to(u)
        U[partition.labels, torch.arange(len(u))] = u
        return U @ at.gradient.detach(), U @ at.hessian @ U.T

    close(summary[:2], bend(p.theta))
    for s in range(len(partition)):
        v = u * (partition.labels == s)
        fine, coarse = ((bend(p.theta + h * v)[1] - bend(p.theta - h * v)[1])[s, s] / (2 * h) for h in (2e-4, 4e-4))
        assert abs((4 * fine - coarse) / 3 - summary.third[s]) < 1e-6 * (1 + abs(summary.third[s]))


@pytest.mark.parametrize("pooling", ["max", "average"])
@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid", "elu", "softplus", "sin"])
def test_series_and_products_agree_on_lenet(activation, pooling):
    torch.manual_seed(0)
    f = Objective(
        lenet((1, 28, 28), 4, activation=activation, pooling=pooling).double(),
        CrossEntropy(),
        (noise((2, 1, 28, 28), 1), torch.tensor([0, 3])),
    )
    theta, u = f.space.get(), noise((f.space.size,), 2)
    for name in BY_HAND:
        partition = make_partition(f.space, name)
        close(f._summary_by_series(theta, u, partition), f._summary_by_products(theta, u, partition))


def test_elsewhere_and_on_the_whole_set(device):
    p, f = make("mlp_tanh", "cross_entropy", device, l2=0.1)
    u, partition = noise(f.space.get().shape, 3).to(device), make_partition(f.space, "canonical")
    before = f.space.get()
    close(f.summary(u, partition, at=p.elsewhere()), dense(p, f, u, partition, p.elsewhere()))
    assert torch.equal(f.space.get(), before)
    source = Source(p)
    f = Objective(p.model, p.loss, p.batch, l2=p.l2, source=source)
    p.batch = source.inputs, source.targets
    close(f.full().summary(u, partition), dense(p, f, u, partition))


def test_dropout_draws_one_mask():
    _, f = make("dropout", "cross_entropy", step=1)
    u, partition = noise(f.space.get().shape, 3), make_partition(f.space, "canonical")
    summary = f.summary(u, partition)
    _, g = f.value_and_grad()
    assert error(summary.first, partition.sums(g * u)) < 1e-12
    step = 1e-4  # phi_ss by differences of the loss on the same mask
    for s in range(len(partition)):
        v = u * (partition.labels == s)
        plus, minus = (f.loss(f.space.get() + sign * step * v) for sign in (1, -1))
        assert abs((plus - 2 * f.loss() + minus) / step**2 - summary.second[s, s]) < 1e-5


def test_what_has_no_rule_is_done_by_products():
    """A function without one, and one in place."""

    class Odd(nn.Module):
        def forward(self, x):
            return torch.atan(x)

    for layer in (Odd(), nn.ReLU(inplace=True)):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(3, 4), layer, nn.Linear(4, 2)).double()
        f = Objective(model, CrossEntropy(), (noise((5, 3), 1), torch.tensor([0, 1, 1, 0, 1])))
        partition, u = make_partition(f.space, "canonical"), noise((f.space.size,), 2)
        assert f._summary_by_series(f.space.get(), u, partition) is None
        close(f.summary(u, partition), f._summary_by_products(f.space.get(), u, partition))


class Concatenated(nn.Module):
    """Two intermediate results in one list."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(3, 2), nn.Linear(3, 2), nn.Linear(4, 2)

    def forward(self, x):
        return self.c(torch.cat([self.a(x).tanh(), self.b(x).tanh()], 1))


class FunctionOfAWeight(nn.Module):
    """A weight that is an intermediate result."""

    def __init__(self):
        super().__init__()
        self.W = nn.Parameter(torch.randn(2, 3))

    def forward(self, x):
        return F.linear(x, self.W.tanh())


class ParameterAsInput(nn.Module):
    """A layer whose input is a parameter."""

    def __init__(self):
        super().__init__()
        self.x, self.layer = nn.Parameter(torch.randn(5, 3)), nn.Linear(3, 2)

    def forward(self, x):
        return self.layer(self.x)


@pytest.mark.parametrize("model", [Concatenated, FunctionOfAWeight, ParameterAsInput])
def test_arguments_that_no_rule_takes_are_done_by_products(model):
    torch.manual_seed(0)
    f = Objective(model().double(), CrossEntropy(), (noise((5, 3), 1), torch.tensor([0, 1, 1, 0, 1])))
    partition, u = make_partition(f.space, "trivial"), noise((f.space.size,), 2)
    summary = f.summary(u, partition)
    assert f.network.known("series") is False
    assert error(summary.first[0], f.value_and_grad()[1] @ u) < 1e-12
    assert error(summary.second[0, 0], u @ (f.hessian() @ u)) < 1e-12


def test_single_precision_is_kept():
    _, f = make("mlp_tanh", "cross_entropy")
    f.network.model.float()
    f = Objective(f.network.model, CrossEntropy(), (f.batch.inputs.float(), f.batch.targets))
    summary = f.summary(torch.ones(f.space.size), make_partition(f.space, "canonical"))
    assert all(term.dtype is torch.float32 for term in summary)
