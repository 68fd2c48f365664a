"""Block Fisher against blocks summed sample by sample, and dense solves."""

import copy
import math

import by_hand
import pytest
import torch
import torch.nn.functional as F
from harness import run_with
from layered import MODEL, Fixed, Sets, batch, eye, gradients, layers, make, matrices, moved
from problems import error
from torch import nn

from sobench import Objective
from sobench.config import files
from sobench.errors import Unsupported
from sobench.optim.block_fisher import BlockFisher
from sobench.optim.kfac import KFAC
from sobench.training import requirements
from sobench.training.trainer import Trainer


@MODEL
def test_blocks_are_the_dense_definition(model, device):
    f = make(model, device)
    expected = layers(f)
    optimizer = BlockFisher(f.space.parameters)
    optimizer.step(f)
    assert optimizer.blocks.keys() == expected.keys()
    for name, layer in expected.items():
        assert error(optimizer.blocks[name], layer.fisher) < 1e-12


def test_a_block_is_the_block_of_the_fisher_of_all_parameters(device):
    """From the gradient of each sample's loss in all of theta, by autograd."""
    f = make("conv", device)
    optimizer = BlockFisher(f.space.parameters)
    optimizer.step(f)
    g = make("conv", device)
    labels = Fixed().sample(g.batch.targets)
    grads = torch.stack(
        [
            torch.cat(
                [
                    p.flatten()
                    for p in torch.autograd.grad(F.cross_entropy(g.network.model(x[None]), y[None]), g.space.parameters)
                ]
            )
            for x, y in zip(g.batch.inputs, labels)
        ]
    )
    for name in g.matrices.names:
        G = torch.stack(
            [
                by_hand.matrix(g.network.model.get_submodule(name), parts[f"{name}.weight"], parts[f"{name}.bias"])
                for parts in map(g.space.named, grads)
            ]
        ).flatten(1)
        assert error(optimizer.blocks[name], G.T @ G / len(g)) < 1e-12


def test_the_warm_start_is_the_mean_over_the_training_set(device):
    sets = [batch((4,), seed, device) for seed in (6, 7, 8)]
    f = make(device=device, source=Sets(*sets))
    optimizer = BlockFisher(f.space.parameters)
    optimizer.warm_start(f)
    for name, F_ in optimizer.blocks.items():
        assert error(F_, sum(layers(f.with_batch(one))[name].fisher for one in sets) / 3) < 1e-12


@MODEL
def test_the_direction_is_the_dense_solve_of_moving_averages(model, device):
    f = make(model, device)
    optimizer = BlockFisher(f.space.parameters, lr=0.3, damping=0.2, momentum=0.8, dampening=0.7, stats_decay=0.6)
    blocks, M = {name: layer.fisher for name, layer in layers(f).items()}, None
    for k in range(1, 5):
        here, G = layers(f), matrices(f, gradients(f))
        M = {name: 0.3 * G[name] + (0.8 * M[name] if M else 0.0) for name in G}
        if k > 1:
            blocks = {name: 0.6 * blocks[name] + 0.4 * here[name].fisher for name in here}
        steps = matrices(f, moved(optimizer, f))
        for name, block in blocks.items():
            direction = torch.linalg.solve(block + 0.2 * eye(block), M[name].flatten()).view_as(M[name])
            assert error(steps[name], -0.3 * direction) < 1e-9


def test_batchnorm_follows_the_moving_average_of_its_gradient(device):
    f = make("batchnorm", device)
    optimizer, m = BlockFisher(f.space.parameters, lr=0.1), 0.0
    for _ in range(3):
        g = gradients(f)
        m = 0.9 * m + 0.1 * torch.cat([g["1.weight"], g["1.bias"]])
        step = moved(optimizer, f)
        assert error(torch.cat([step["1.weight"], step["1.bias"]]), -0.1 * m) < 1e-12


def test_infinite_damping_is_scaled_momentum(device):
    for damping in (1e3, 1e6):
        f = make("conv", device)
        g, before = torch.cat([v.flatten() for v in gradients(f).values()]), f.space.get()
        BlockFisher(f.space.parameters, lr=0.1, damping=damping, dampening=0.0).step(f)
        assert error((f.space.get() - before) * damping / 0.1, -g) < 10 / damping


def test_of_one_linear_layer_and_one_sample_kfac_is_the_same_up_to_a_factor(device):
    """Both directions are multiples of the gradient: F is (Gamma x Omega)."""
    steps = []
    for cls, options in ((BlockFisher, {"dampening": 0.0}), (KFAC, {})):
        f = Objective(nn.Linear(4, 3).double().to(device), Fixed(), batch((4,), 6, device, samples=1))
        f.space.assign_(torch.linspace(-1, 1, f.space.size).to(f.space.get()))
        f = f.with_batch((f.batch.inputs, Fixed().sample(f.batch.targets)))
        moved(cls(f.space.parameters, lr=1.0, damping=1e-10, **options), f)
        steps.append(f.space.get() - torch.linspace(-1, 1, f.space.size).to(f.space.get()))
    assert error(*steps) < 1e-3


def test_a_block_that_is_not_positive_definite_shows(device):
    f = make(device=device)
    BlockFisher(f.space.parameters, damping=0.0).step(f)
    assert f.space.get().isnan().any()
    f = make(device=device)
    f.batch.inputs[0, 0] = math.nan
    assert BlockFisher(f.space.parameters).step(f).isnan() and f.space.get().isnan().all()


def test_resume(device):
    f, g = make("conv", device), make("conv", device)
    straight, first, second = (BlockFisher(h.space.parameters) for h in (f, g, g))
    for _ in range(6):
        straight.step(f.on(f.batch))
    for _ in range(3):
        first.step(g.on(g.batch))
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    for _ in range(3):
        second.step(g.on(g.batch))
    assert torch.equal(f.space.get(), g.space.get())


# 64-4-10, float32: layers of 260 and 50 parameters
SETTINGS = {"optimizer": files.group_defaults("optimizer", "block_fisher")}
NEEDED = 4 * (3 * 260**2 + 50**2)


def test_layers_too_large_for_their_blocks_are_named(monkeypatch):
    monkeypatch.setattr(requirements.environment, "available_memory", lambda where: NEEDED - 1)
    with pytest.raises(
        Unsupported, match=r"^optimizer: .* layer 1 with n = 260: .* GiB needed for all, .* GiB free; allowed: narrower"
    ):
        Trainer(run_with(**SETTINGS))
    monkeypatch.setattr(requirements.environment, "available_memory", lambda where: NEEDED)
    Trainer(run_with(**SETTINGS))
