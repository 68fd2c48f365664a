"""Tiny networks with parameters of 0 to 4 modes, and reference formulas for the matrices of their tensors."""

from __future__ import annotations

import copy
import math
from functools import reduce

import layered
import pytest
import torch
import torch.nn.functional as F
from layered import SAMPLED, C, Fixed, batch
from torch import nn

from sobench import Objective


class Ways(nn.Module):
    """A network with one parameter for each number of modes. The one with four modes is not a convolution kernel."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(0.7))
        self.shift = nn.Parameter(0.3 * torch.randn(C))
        self.matrix = nn.Parameter(torch.randn(C, 4))
        self.cube = nn.Parameter(torch.randn(2, 3, 4))
        self.four = nn.Parameter(torch.randn(2, 3, 2, 2))

    def forward(self, x):
        h = torch.einsum("na,bca->nbc", x, self.cube).tanh()
        h = torch.einsum("nbc,bcde->nde", h, self.four).tanh().flatten(1)
        return self.scale * (h @ self.matrix.T) + self.shift


MODELS = layered.MODELS | {"ways": (Ways, (4,))}
SHAPES = {  # of the tensors, by the rule of section 4.7.2
    "ways": {"scale": (1,), "shift": (3,), "matrix": (3, 4), "cube": (2, 3, 4), "four": (2, 3, 2, 2)},
    "batchnorm": {"0.weight": (3, 2, 4), "1.weight": (3,), "1.bias": (3,), "4.weight": (3, 12), "4.bias": (3,)},
    "conv": {"0.weight": (3, 2, 4), "0.bias": (3,), "3.weight": (3, 18), "3.bias": (3,)},
}
MODEL = pytest.mark.parametrize("model", SHAPES)


def make(model="ways", device="cpu", **options):
    build, shape = MODELS[model]
    with torch.random.fork_rng([]):
        torch.manual_seed(1)
        net = build().double().to(device)
    return Objective(net, Fixed(), batch(shape, 6, device), **options)


def gradients(f, labels="own"):
    """{parameter: gradient} by plain torch, on a copy of the model, for labels `own` or `sampled`."""
    model = copy.deepcopy(f.network.model)
    y = SAMPLED.to(f.batch.targets.device) if labels == "sampled" else f.batch.targets
    F.cross_entropy(model(f.batch.inputs), y).backward()
    return {name: p.grad for name, p in model.named_parameters()}


def contractions(g, shape):
    """G^(i) for every mode of g in the shape `shape`: sums over all other indices."""
    G, modes = g.reshape(shape), range(len(shape))
    return [torch.tensordot(G, G, dims=([j for j in modes if j != i],) * 2) for i in modes]


def covariances(G):
    """U_i by equation 4.10, as printed."""
    d, k = [len(g) for g in G], len(G)
    factors = []
    for i, E in enumerate(G):
        c_0 = (E.trace() / math.prod(d)) ** (1 / k)
        factors.append(E / (c_0 ** (k - 1) * math.prod(d[j] for j in range(k) if j != i)))
    return factors


def kron(matrices):
    return reduce(torch.kron, matrices)


def damped(matrices, damping):
    return [U + damping * torch.eye(len(U)).to(U) for U in matrices]


def tnt_direction(G, g, damping):
    """Equation 4.8 with an explicit Kronecker product."""
    return torch.linalg.solve(kron(damped(covariances(G), damping)), g.flatten()).view_as(g)


def shampoo_direction(G, g, damping):
    """Algorithm 16, line 14, by the power of the explicit Kronecker product."""
    eigenvalues, Q = torch.linalg.eigh(kron(damped(G, damping)))
    return (Q @ (eigenvalues ** (-0.5 / len(G)) * (Q.T @ g.flatten()))).view_as(g)
