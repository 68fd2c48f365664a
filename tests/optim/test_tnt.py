"""TNT against (4.8) with the Kronecker product of (4.10) formed, for tensors of every number of modes."""

import pytest
import torch
from layered import C, Fixed, Sets, batch, moved
from objectives import through_a_file
from problems import Partial, error, noise
from tensorial import MODEL, MODELS, SHAPES, contractions, covariances, gradients, kron, make, tnt_direction

from sobench import Objective
from sobench.optim.tnt import TNT, covariance_scales

FISHER = pytest.mark.parametrize("fisher, labels", [("true", "sampled"), ("empirical", "own")])


@MODEL
@FISHER
def test_statistics_are_contractions_of_the_mean_gradient(model, fisher, labels, device):
    f = make(model, device)
    g = gradients(f, labels)
    optimizer = TNT(f.space.parameters, fisher=fisher)
    optimizer.warm_start(f)
    assert optimizer.factors.keys() == SHAPES[model].keys()
    for name, shape in SHAPES[model].items():
        for G, expected in zip(optimizer.factors[name]["G"], contractions(g[name], shape), strict=True):
            assert error(G, expected) < 1e-12


@FISHER
def test_the_warm_start_is_the_mean_over_the_training_set(fisher, labels, device):
    sets = [batch(MODELS["ways"][1], seed, device) for seed in (6, 7, 8)]
    f = make(device=device, source=Sets(*sets))
    optimizer = TNT(f.space.parameters, fisher=fisher)
    optimizer.warm_start(f)
    parts = [gradients(f.with_batch(one), labels) for one in sets]
    for name, shape in SHAPES["ways"].items():
        expected = [contractions(g[name], shape) for g in parts]
        for i, G in enumerate(optimizer.factors[name]["G"]):
            assert error(G, sum(e[i] for e in expected) / 3) < 1e-12


@MODEL
@FISHER
def test_the_direction_is_the_dense_solve(model, fisher, labels, device):
    f = make(model, device)
    g, s = gradients(f), gradients(f, labels)
    steps = moved(TNT(f.space.parameters, lr=0.1, damping=0.03, fisher=fisher), f)
    for name, shape in SHAPES[model].items():
        assert error(steps[name], -0.1 * tnt_direction(contractions(s[name], shape), g[name], 0.03)) < 1e-9


@pytest.mark.parametrize("period", [1, 2, 3])
def test_statistics_are_moving_averages_every_stats_period(period, device):
    """The first step keeps the warm start; the k-th sees the parameters before it moves them."""
    other = batch(MODELS["ways"][1], 7, device)
    f = make(device=device, source=Sets(other))
    optimizer = TNT(f.space.parameters, lr=0.1, stats_decay=0.7, stats_period=period)
    G = {
        name: contractions(gradients(f.with_batch(other), "sampled")[name], shape)
        for name, shape in SHAPES["ways"].items()
    }
    for k in range(1, 7):
        s = gradients(f, "sampled")
        optimizer.step(f)
        for name, shape in SHAPES["ways"].items():
            if k > 1 and k % period == 0:
                G[name] = [0.7 * old + 0.3 * new for old, new in zip(G[name], contractions(s[name], shape))]
            for found, expected in zip(optimizer.factors[name]["G"], G[name]):
                assert error(found, expected) < 1e-12


@pytest.mark.parametrize(
    "early, stats_period, fresh",
    [
        (True, 1, [1, 2, 3, 6, 9]),
        (False, 1, [1, 3, 6, 9]),
        (True, 2, [1, 2, 3, 6, 9]),
        (True, 4, [1, 3, 6, 9]),
    ],
)
def test_inverses_are_made_every_inverse_period(early, stats_period, fresh):
    f = make()
    optimizer = TNT(f.space.parameters, lr=0.01, inverse_period=3, early_inverses=early, stats_period=stats_period)
    made, before = [], None
    for k in range(1, 10):
        optimizer.step(f)
        seen = optimizer.factors["cube"]["H"][1]
        made += [k] if seen is not before else []
        before = seen
    assert made == fresh


def test_momentum_is_preconditioned_and_weight_decay_is_not(device):
    f = make(device=device)
    optimizer = TNT(
        f.space.parameters,
        lr=0.1,
        damping=0.3,
        momentum=0.8,
        weight_decay=0.5,
        inverse_period=100,
        early_inverses=False,
    )
    first, m = gradients(f, "sampled"), dict.fromkeys(SHAPES["ways"], 0.0)
    for _ in range(3):
        g, W = gradients(f), f.space.named(f.space.get())
        m = {name: 0.8 * m[name] + g[name] for name in m}
        steps = moved(optimizer, f)
        for name, shape in SHAPES["ways"].items():
            P = tnt_direction(contractions(first[name], shape), m[name], 0.3)
            assert error(steps[name], -0.1 * (P + 0.5 * W[name])) < 1e-9


def test_with_damping_to_infinity_it_is_the_scaled_gradient(device):
    """(U_1 + damping I) x ... x (U_k + damping I) -> damping^k I."""
    f = make(device=device)
    optimizer = TNT(f.space.parameters, damping=1e6)
    optimizer.warm_start(f)
    optimizer.invert()
    g = gradients(f)
    P = f.space.named(optimizer.preconditioned(f, f.space.flatten([g[name] for name in f.space.names])))
    for name, shape in SHAPES["ways"].items():
        assert error(1e6 ** len(shape) * P[name], g[name]) < 1e-5


# Formula 4.10


@pytest.mark.parametrize("d", [(4,), (3, 2), (2, 3, 4), (2, 3, 2, 2)])
def test_a_tensor_normal_covariance_is_found_again(d):
    """From E[G^(i)] = U_i prod_{j != i} tr U_j (4.2), whatever the U_i share among themselves."""
    U = [noise((n, n + 1), seed) @ noise((n, n + 1), seed).T for seed, n in enumerate(d)]
    F = kron(U)
    E = [F.trace() / u.trace() * u for u in U]
    found = [s * G for s, G in zip(covariance_scales(E), E)]
    assert error(kron(found), F) < 1e-12
    means = torch.stack([u.trace() / len(u) for u in found])
    assert error(means, means.mean().expand(len(d))) < 1e-12
    assert all(error(a, b) < 1e-12 for a, b in zip(found, covariances(E)))


def test_a_tensor_without_gradient_stays_and_harms_no_other(device):
    model = Partial().double().to(device)
    f = Objective(model, Fixed(), batch((4,), 6, device))
    optimizer = TNT(f.space.parameters, lr=0.1)
    for _ in range(3):
        steps = moved(optimizer, f)
        assert not steps["unused.weight"].any() and not steps["unused.bias"].any()
        assert steps["last.weight"].isfinite().all() and steps["last.weight"].any()


def test_what_is_not_a_number_is_not_hidden():
    scales = covariance_scales([torch.full((2, 2), torch.nan), torch.eye(3)])
    assert all(s.isnan() for s in scales)


def test_singular_without_damping_is_not_a_number(device):
    """One contraction of a vector has rank one."""
    f = make(device=device)
    steps = moved(TNT(f.space.parameters, damping=0.0), f)
    assert steps["shift"].isnan().all() and len(steps["shift"]) == C


# Work and state


@pytest.mark.parametrize("fisher, backwards", [("true", 2), ("empirical", 1)])
def test_a_step_is_one_forward_pass(fisher, backwards):
    f = make()
    optimizer = TNT(f.space.parameters, fisher=fisher)
    optimizer.step(f)
    f.cost.forwards = f.cost.backwards = 0
    optimizer.step(f)
    assert (f.cost.forwards, f.cost.backwards) == (1, backwards)


def test_it_resumes_bit_for_bit():
    f, g = make("batchnorm"), make("batchnorm")
    straight, other = (
        TNT(f.space.parameters, lr=0.01, inverse_period=4),
        TNT(g.space.parameters, lr=0.01, inverse_period=4),
    )
    for _ in range(3):
        straight.step(f)
    other.load_state_dict(through_a_file(straight.state_dict()))
    g.space.assign_(f.space.get())
    for _ in range(3):
        assert straight.step(f) == other.step(g)
    assert torch.equal(f.space.get(), g.space.get())
