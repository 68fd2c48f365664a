"""Shampoo against the fractional power of the Kronecker product, formed, for tensors of every number of modes."""

import pytest
import torch
from layered import Sets, batch, moved
from objectives import through_a_file
from problems import Partial, error, noise
from tensorial import MODEL, MODELS, SHAPES, contractions, gradients, make, shampoo_direction

from sobench import Objective
from sobench.losses import SquaredError
from sobench.optim.shampoo import Shampoo

ROOTS = pytest.mark.parametrize("roots, tolerance", [("newton", 1e-6), ("eigen", 1e-10), ("auto", 1e-6)])


@MODEL
@ROOTS
def test_the_direction_is_the_dense_power(model, roots, tolerance, device):
    f = make(model, device)
    g = gradients(f)
    optimizer = Shampoo(f.space.parameters, lr=0.1, damping=0.003, roots=roots)
    steps = moved(optimizer, f)
    for name, shape in SHAPES[model].items():
        assert error(steps[name], -0.1 * shampoo_direction(contractions(g[name], shape), g[name], 0.003)) < tolerance
    assert optimizer.diagnostics == {"root_failures": 0}


def test_the_warm_start_is_the_mean_over_the_training_set(device):
    sets = [batch(MODELS["conv"][1], seed, device) for seed in (6, 7, 8)]
    f = make("conv", device, source=Sets(*sets))
    optimizer = Shampoo(f.space.parameters)
    optimizer.warm_start(f)
    parts = [gradients(f.with_batch(one)) for one in sets]
    for name, shape in SHAPES["conv"].items():
        expected = [contractions(g[name], shape) for g in parts]
        for i, G in enumerate(optimizer.factors[name]["G"]):
            assert error(G, sum(e[i] for e in expected) / 3) < 1e-12


@pytest.mark.parametrize("period", [1, 3])
def test_statistics_are_moving_averages_of_the_gradients_own(period, device):
    f = make(device=device)
    optimizer = Shampoo(f.space.parameters, lr=0.1, stats_decay=0.7, stats_period=period)
    G = {name: contractions(gradients(f)[name], shape) for name, shape in SHAPES["ways"].items()}
    for k in range(1, 7):
        g = gradients(f)
        optimizer.step(f)
        for name, shape in SHAPES["ways"].items():
            if k > 1 and k % period == 0:
                G[name] = [0.7 * old + 0.3 * new for old, new in zip(G[name], contractions(g[name], shape))]
            for found, expected in zip(optimizer.factors[name]["G"], G[name]):
                assert error(found, expected) < 1e-12


def test_between_inverses_the_roots_stay_and_the_momentum_moves_on(device):
    f = make(device=device)
    optimizer = Shampoo(
        f.space.parameters, lr=0.01, damping=0.1, momentum=0.8, weight_decay=0.5, inverse_period=3, early_inverses=False
    )
    m = dict.fromkeys(SHAPES["ways"], 0.0)
    for k in range(1, 6):
        g, W = gradients(f), f.space.named(f.space.get())
        m = {name: 0.8 * m[name] + g[name] for name in m}
        steps = moved(optimizer, f)
        if k in (1, 3):
            G = {name: [M.clone() for M in optimizer.factors[name]["G"]] for name in SHAPES["ways"]}
        for name in SHAPES["ways"]:
            assert error(steps[name], -0.01 * (shampoo_direction(G[name], m[name], 0.1) + 0.5 * W[name])) < 1e-6


def test_a_step_is_one_forward_and_one_backward_pass():
    f = make()
    optimizer = Shampoo(f.space.parameters)
    optimizer.step(f)
    f.cost.forwards = f.cost.backwards = 0
    optimizer.step(f)
    assert (f.cost.forwards, f.cost.backwards) == (1, 1)


def test_roots_that_the_iteration_does_not_give_are_counted(device):
    """Without damping: a layer that the outputs do not use has three matrices, all zero; eight batches make the others
    definite."""
    model = Partial().double().to(device)
    sets = [(noise((5, 4), seed).to(device), noise((5, 3), 10 + seed).to(device)) for seed in range(8)]
    f = Objective(model, SquaredError(), sets[0], source=Sets(*sets))
    optimizer = Shampoo(f.space.parameters, damping=0.0, roots="newton", inverse_period=2, early_inverses=False)
    for failures in (3, 6, 6):
        steps = moved(optimizer, f)
        assert optimizer.diagnostics == {"root_failures": failures}
        assert steps["unused.weight"].isnan().all() and steps["last.weight"].isfinite().all()


def test_it_resumes_bit_for_bit():
    f, g = make("batchnorm"), make("batchnorm")
    straight, other = (Shampoo(h.space.parameters, lr=0.01, inverse_period=4, roots="newton") for h in (f, g))
    for _ in range(3):
        straight.step(f)
    other.load_state_dict(through_a_file(straight.state_dict()))
    g.space.assign_(f.space.get())
    for _ in range(3):
        assert straight.step(f) == other.step(g)
    assert torch.equal(f.space.get(), g.space.get()) and straight.diagnostics == other.diagnostics
