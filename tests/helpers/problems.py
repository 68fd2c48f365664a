"""Tiny problems, with f_B and its derivatives computed densely by plain autograd. Calls no oracle of sobench.

A new model or loss is one line of MODELS or LOSSES. Every oracle is then tested on it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from sobench import losses
from sobench.objective.taylor.partition import make_partition

N = 6  # samples in a batch


def tied() -> nn.Module:
    model = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4))
    model[2].weight = model[0].weight
    return model


class Scaled(nn.Module):
    """A network with a 0-dim parameter."""

    def __init__(self):
        super().__init__()
        self.scale, self.linear = nn.Parameter(torch.tensor(0.7)), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear((self.scale * x).tanh())


class Partial(nn.Module):
    """A network with a frozen layer and a layer that the outputs do not use."""

    def __init__(self):
        super().__init__()
        self.first, self.unused, self.last = nn.Linear(4, 5).requires_grad_(False), nn.Linear(2, 2), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.first(x).tanh())


def batchnorm_conv() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 2, 3, bias=False), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3))


MODELS = {  # name: (builder, input shape); "eval" in the name: in eval mode
    "mlp_tanh": (lambda: nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3)), (4,)),
    "mlp_relu": (lambda: nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3)), (4,)),
    "conv_maxpool": (
        lambda: nn.Sequential(nn.Conv2d(2, 2, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8, 3)),
        (2, 4, 4),
    ),
    "conv_avgpool": (
        lambda: nn.Sequential(nn.Conv2d(1, 2, 2, stride=2), nn.Tanh(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(2, 3)),
        (1, 4, 4),
    ),
    "batchnorm": (lambda: nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 3)), (4,)),
    "batchnorm_eval": (lambda: nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 3)), (4,)),
    "batchnorm_conv": (batchnorm_conv, (1, 4, 4)),
    "batchnorm_untracked_eval": (
        lambda: nn.Sequential(
            nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2, track_running_stats=False), nn.Flatten(), nn.Linear(8, 3)
        ),
        (1, 4, 4),
    ),
    "autoencoder": (
        lambda: nn.Sequential(
            nn.Linear(4, 3), nn.Sigmoid(), nn.Linear(3, 2), nn.Linear(2, 3), nn.Sigmoid(), nn.Linear(3, 4)
        ),
        (4,),
    ),
    "dropout": (lambda: nn.Sequential(nn.Linear(4, 9), nn.Tanh(), nn.Dropout(0.5), nn.Linear(9, 3)), (4,)),
    "tied": (tied, (4,)),
    "scaled": (Scaled, (4,)),
    "partial": (Partial, (4,)),
}


def signs(z: Tensor, t: Tensor) -> Tensor:
    return 2.0 * F.one_hot(t, z.shape[1]) - 1


LOSSES = {  # name: (the loss under test, l(z_n, t_n) of every sample [N] by its formula)
    "cross_entropy": (losses.CrossEntropy(), lambda z, t: z.logsumexp(1) - z.gather(1, t[:, None]).squeeze(1)),
    "binary_cross_entropy": (
        losses.BinaryCrossEntropy(),
        lambda z, t: -(t * F.logsigmoid(z) + (1 - t) * F.logsigmoid(-z)).sum(1),
    ),
    "squared_error": (losses.SquaredError(), lambda z, t: 0.5 * ((z - t) ** 2).sum(1)),
    "squared_hinge": (losses.SquaredHinge(), lambda z, t: (F.relu(1 - signs(z, t) * z) ** 2).sum(1)),
}


def pairs(models: Iterable[str], losses: Sequence[str]) -> list:
    """Every model with every loss, as parameters of a test of oracles or steps.

    The usual tests have each model with one loss, and each loss with several models; all other pairs are slow tests.
    """
    return [
        pytest.param(model, loss, marks=[] if (i + i // len(losses) - j) % len(losses) == 0 else [pytest.mark.slow])
        for i, model in enumerate(models)
        for j, loss in enumerate(losses)
    ]


@dataclass
class Problem:
    """A model in float64, a loss, a batch, and parameters other than those of the model (`elsewhere`)."""

    name: str
    model: nn.Module
    loss: losses.Loss
    formula: object
    batch: tuple[Tensor, Tensor]
    l2: float = 0.0

    @property
    def theta(self) -> Tensor:
        return torch.cat([p.detach().flatten() for p in self.model.parameters() if p.requires_grad])

    def elsewhere(self, scale: float = 0.3) -> Tensor:
        return self.theta + scale * noise(self.theta.shape, 7).to(self.theta)


def noise(shape, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def targets(loss: losses.Loss, samples: int, outputs: int, seed: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    if loss.takes == "labels":
        return torch.randint(outputs, (samples,), generator=generator)
    return torch.rand(samples, outputs, generator=generator, dtype=torch.float64)


def problem(model: str, loss: str, *, l2: float = 0.0, device="cpu", samples: int = N) -> Problem:
    build, shape = MODELS[model]
    with torch.random.fork_rng([]):
        torch.manual_seed(1)
        net = build().double().train()
    for m in net.modules():  # statistics and affine maps that are not the identity
        if isinstance(m, nn.modules.batchnorm._BatchNorm):
            nn.init.uniform_(m.weight, 0.5, 1.5, generator=torch.Generator().manual_seed(3))
            if m.running_mean is not None:
                m.running_mean.copy_(0.1 * noise(m.running_mean.shape, 4))
                m.running_var.copy_(1 + 0.5 * noise(m.running_var.shape, 5).tanh())
    inputs = noise((samples, *shape), 6)
    outputs = net.eval()(inputs).shape[1]
    net.train("eval" not in model).to(device)
    under_test, formula = LOSSES[loss]
    batch = inputs.to(device), targets(under_test, samples, outputs).to(device)
    return Problem(f"{model}-{loss}", net, under_test, formula, batch, l2)


class Dense:
    """f_B at theta and its derivatives, row by row by torch.autograd from one flat leaf theta [P]."""

    def __init__(self, p: Problem, theta: Tensor | None = None, batch=None):
        self.p, (self.inputs, self.targets) = p, batch or p.batch
        self.theta = (p.theta if theta is None else theta).detach().clone().requires_grad_()
        self.outputs = self._outputs()
        self.losses = p.formula(self.outputs, self.targets) + 0.5 * p.l2 * (self.theta @ self.theta)
        self.value = self.losses.mean()

    def _outputs(self) -> Tensor:
        state, start = {name: b.clone() for name, b in self.p.model.named_buffers()}, 0
        for name, p in self.p.model.named_parameters():
            if p.requires_grad:
                size = math.prod(p.shape)
                state[name] = self.theta[start : start + size].view(p.shape)
                start += size
        return functional_call(self.p.model, state, (self.inputs,))

    @cached_property
    def gradient(self) -> Tensor:
        return torch.autograd.grad(self.value, self.theta, create_graph=True)[0]

    @cached_property
    def hessian(self) -> Tensor:
        return rows(self.gradient, self.theta)

    @cached_property
    def per_sample(self) -> Tensor:
        return rows(self.losses, self.theta)

    @cached_property
    def jacobian(self) -> Tensor:
        return rows(self.outputs.flatten(), self.theta).view(*self.outputs.shape, -1)

    @cached_property
    def ggn(self) -> Tensor:
        """J^T H_z J + l2 I, with H_z [N C, N C] the Hessian of the mean loss in all outputs."""
        z = self.outputs.detach().requires_grad_()
        (g,) = torch.autograd.grad(self.p.formula(z, self.targets).mean(), z, create_graph=True)
        J, H_z = self.jacobian.flatten(0, 1), rows(g.flatten(), z).flatten(1)
        return J.T @ H_z @ J + self.p.l2 * torch.eye(J.shape[1]).to(J)


def rows(y: Tensor, x: Tensor) -> Tensor:
    """dy_i / dx, [len(y), *x.shape]."""
    return torch.stack([torch.autograd.grad(y_i, x, retain_graph=True)[0] for y_i in y]).detach()


def error(actual: Tensor, expected: Tensor) -> float:
    """The relative error ||actual - expected|| / ||expected||."""
    assert actual.shape == expected.shape and actual.dtype == expected.dtype, (actual.shape, expected.shape)
    return float((actual.detach() - expected.detach()).norm() / expected.detach().norm())


class Source:
    """A training set with chunks of unequal sizes: the source of an Objective."""

    def __init__(self, p: Problem, samples: int = 11, sizes=(5, 4, 2)):
        larger = problem(*p.name.split("-"), samples=samples, device=p.batch[0].device)
        self.inputs, self.targets = larger.batch
        self.sizes = list(sizes)

    def draw(self, n: int, generator):
        index = torch.randperm(len(self.inputs), generator=generator, device=self.inputs.device)[:n]
        return self.inputs[index], self.targets[index]

    def batches(self, size: int, generator):
        index = torch.randperm(len(self.inputs), generator=generator, device=self.inputs.device)
        for i in range(0, len(index) - size + 1, size):
            yield self.inputs[index[i : i + size]], self.targets[index[i : i + size]]

    def chunks(self):
        return list(zip(self.inputs.split(self.sizes), self.targets.split(self.sizes)))


def gradients_inside_a_record(f):
    with f.record() as io:
        f.value_and_grad()
    return [io[name].output_grads for name in sorted(io)]


def propagated(f):
    with f.record() as io:
        f.propagate()
    return [io[name].output_grads for name in sorted(io)]


def roots(f):
    with f.record():
        return f.propagate_roots()


def accumulated(f):
    with f.record() as io:
        f.propagate()
    grads = {name: io[name].output_grads for name in f.matrices.names}
    return f.accumulate(io, grads, torch.zeros_like(f.space.get()))


def summarised(f):
    return f.summary(torch.ones_like(f.space.get()), make_partition(f.space, "canonical"))


ORACLES = {  # name as in Cost.used: a call of the oracle; all but the closure leave model and random state unchanged
    "loss": lambda f: f.loss(),
    "value_and_grad": lambda f: f.value_and_grad(),
    "hessian": lambda f: f.hessian().dense(),
    "ggn": lambda f: f.ggn().dense(),
    "per_sample_grads": lambda f: f.per_sample_grads(),
    "output_jacobian": lambda f: f.output_jacobian(),
    "record": gradients_inside_a_record,
    "propagate": propagated,
    "propagate_roots": roots,
    "accumulate": accumulated,
    "summary": summarised,
    "sampled": lambda f: f.sampled().value_and_grad(),
    "independent_batch": lambda f: f.independent_batch().value_and_grad(),
    "batches": lambda f: [g.value_and_grad() for g in f.batches()],
    "full": lambda f: f.full().value_and_grad(),
    "complex": lambda f: f.value_and_grad(f.space.get() + 1e-12j),
    "curvature": lambda f: f.curvature(f.space.get()),
}
