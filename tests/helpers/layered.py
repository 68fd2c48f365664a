"""Tiny networks of Linear and Conv2d layers with fixed sampled labels; their layers and gradients by plain torch."""

from __future__ import annotations

import copy

import by_hand
import pytest
import torch
import torch.nn.functional as F
from forwards import Model
from problems import noise
from torch import nn

from sobench import Objective
from sobench.losses import CrossEntropy

N, C = 5, 3
SAMPLED = torch.tensor([2, 0, 0, 1, 2])  # the labels that `sampled()` draws
MODELS = {
    "mlp": (lambda: nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, C, bias=False)), (4,)),
    "sequence": (lambda: nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Flatten(), nn.Linear(10, C)), (2, 4)),
    "conv": (
        lambda: nn.Sequential(nn.Conv2d(2, 3, 2, stride=2, padding=1), nn.Tanh(), nn.Flatten(), nn.Linear(18, C)),
        (2, 3, 4),
    ),
    "batchnorm": (
        lambda: nn.Sequential(
            nn.Conv2d(2, 3, 2, bias=False), nn.BatchNorm2d(3), nn.Tanh(), nn.Flatten(), nn.Linear(12, C)
        ),
        (2, 3, 3),
    ),
    "recurrent": (
        lambda: Model(
            lambda self, x: self.last(self.layer(self.layer(self.layer(x).tanh()).tanh()).tanh()),
            layer=nn.Linear(4, 4),
            last=nn.Linear(4, C),
        ),
        (4,),
    ),
    "two_scales": (
        lambda: Model(
            lambda self, x: self.last(sum(self.layer(y).tanh().mean((2, 3)) for y in (x, F.avg_pool2d(x, 2)))),
            layer=nn.Conv2d(2, 3, 2, padding=1),
            last=nn.Linear(3, C),
        ),
        (2, 4, 6),
    ),
}
SHARED = ("recurrent", "two_scales")
"""Models that call a layer several times in a pass."""
MODEL = pytest.mark.parametrize("model", MODELS)


class Fixed(CrossEntropy):
    """The cross entropy with fixed sampled labels."""

    def sample(self, outputs, generator=None):
        return SAMPLED[: len(outputs)].to(outputs.device)


class Sets:
    """A training set that consists of the given batches."""

    def __init__(self, *batches):
        self._batches = batches

    def batches(self, size, generator):
        return iter(self._batches)


def batch(shape, seed, device="cpu", samples=N):
    return noise((samples, *shape), seed).to(device), (torch.arange(samples) % C).to(device)


def make(model="mlp", device="cpu", samples=N, **options):
    build, shape = MODELS[model]
    with torch.random.fork_rng([]):
        torch.manual_seed(1)
        net = build().double().to(device)
    return Objective(net, Fixed(), batch(shape, 6, device, samples), **options)


def layers(f, labels="sampled"):
    """{layer: by_hand.Layer} for a batch, with the sampled labels or with its own."""
    y = SAMPLED[: len(f)].to(f.batch.targets.device) if labels == "sampled" else f.batch.targets
    return by_hand.layers(f.network.model, F.cross_entropy, f.batch.inputs, y)


def gradients(f):
    """{parameter: gradient} by torch alone, on a copy of the model."""
    model = copy.deepcopy(f.network.model)
    F.cross_entropy(model(f.batch.inputs), f.batch.targets).backward()
    return {name: p.grad for name, p in model.named_parameters()}


def moved(optimizer, f):
    """{parameter: the change by one step}."""
    before = f.space.get()
    optimizer.step(f)
    return f.space.named(f.space.get() - before)


def matrices(f, parts):
    """{layer: [I, D]} from named tensors."""
    modules = {name: m for name, m in f.network.model.named_modules() if isinstance(m, (nn.Linear, nn.Conv2d))}
    own = {name: {key: parts.get(f"{name}.{key}".strip(".")) for key in ("weight", "bias")} for name in modules}
    return {name: by_hand.matrix(m, **own[name]) for name, m in modules.items()}


def eye(A):
    return torch.eye(len(A)).to(A)
