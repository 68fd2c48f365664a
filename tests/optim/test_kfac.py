"""K-FAC against its definition: factors by loops over samples and locations, directions by dense Kronecker solves."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from layered import MODEL, MODELS, SAMPLED, C, Fixed, N, Sets, batch, eye, gradients, layers, make, matrices, moved
from problems import error
from torch import nn

from sobench import Objective
from sobench.linalg.trust_region import levenberg_marquardt
from sobench.optim.kfac import KFAC


def solve(Omega, Gamma, M, damping, pi):
    """((Gamma + sqrt(damping) / pi I) x (Omega + pi sqrt(damping) I))^-1 vec(M), the Kronecker product formed."""
    root = math.sqrt(damping)
    B = torch.kron(Gamma + root / pi * eye(Gamma), Omega + pi * root * eye(Omega))
    return torch.linalg.solve(B, M.flatten()).view_as(M)


def balance(Omega, Gamma):
    """sqrt(tr(Omega x I) / tr(I x Gamma)), the Kronecker products formed."""
    return math.sqrt(torch.kron(Omega, eye(Gamma)).trace() / torch.kron(eye(Omega), Gamma).trace())


# Factors


@MODEL
@pytest.mark.parametrize("fisher", ["true", "empirical"])
def test_factors_are_the_dense_definition(model, fisher, device):
    f = make(model, device)
    optimizer = KFAC(f.space.parameters, lr=0.1, fisher=fisher)
    expected = layers(f, "sampled" if fisher == "true" else "own")
    optimizer.step(f)
    assert optimizer.factors.keys() == expected.keys()
    for name, layer in expected.items():
        assert error(optimizer.factors[name]["Omega"], layer.Omega) < 1e-12
        assert error(optimizer.factors[name]["Gamma"], layer.Gamma) < 1e-12


@pytest.mark.parametrize("fisher", ["true", "empirical"])
def test_the_warm_start_is_the_mean_over_the_training_set(fisher, device):
    shape = MODELS["conv"][1]
    sets = [batch(shape, seed, device) for seed in (6, 7, 8)]
    f = make("conv", device, source=Sets(*sets))
    optimizer = KFAC(f.space.parameters, fisher=fisher)
    optimizer.warm_start(f)
    parts = [layers(f.with_batch(one), "sampled" if fisher == "true" else "own") for one in sets]
    for name, factor in optimizer.factors.items():
        assert error(factor["Omega"], sum(p[name].Omega for p in parts) / 3) < 1e-12
        assert error(factor["Gamma"], sum(p[name].Gamma for p in parts) / 3) < 1e-12


@pytest.mark.parametrize("period", [1, 2, 3])
def test_factors_are_moving_averages_every_stats_period(period, device):
    """The first step keeps the warm start; the k-th sees the parameters before it moves them."""
    f = make("conv", device)
    optimizer = KFAC(f.space.parameters, lr=0.1, stats_decay=0.7, stats_period=period)
    expected = layers(f)
    Omega = {name: layer.Omega for name, layer in expected.items()}
    Gamma = {name: layer.Gamma for name, layer in expected.items()}
    for k in range(1, 7):
        here = layers(f)
        optimizer.step(f)
        if k > 1 and k % period == 0:
            Omega = {name: 0.7 * Omega[name] + 0.3 * here[name].Omega for name in here}
            Gamma = {name: 0.7 * Gamma[name] + 0.3 * here[name].Gamma for name in here}
        for name, factor in optimizer.factors.items():
            assert error(factor["Omega"], Omega[name]) < 1e-12 and error(factor["Gamma"], Gamma[name]) < 1e-12


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
    optimizer = KFAC(f.space.parameters, lr=0.1, inverse_period=3, early_inverses=early, stats_period=stats_period)
    made, before = [], None
    for k in range(1, 10):
        optimizer.step(f)
        seen = optimizer.factors["0"]["H_Omega"]
        made += [k] if seen is not before else []
        before = seen
    assert made == fresh


# Directions


@MODEL
@pytest.mark.parametrize("split", ["balanced", "equal"])
@pytest.mark.parametrize("damping, tau", [(0.3, 0.0), (0.0, 2.0)])
def test_the_direction_is_the_dense_kronecker_solve(model, split, damping, tau, device):
    f = make(model, device)
    expected, G = layers(f), matrices(f, gradients(f))
    optimizer = KFAC(f.space.parameters, lr=0.1, damping=damping, tau=tau, split=split)
    steps = matrices(f, moved(optimizer, f))
    for name, layer in expected.items():
        pi = balance(layer.Omega, layer.Gamma) if split == "balanced" else 1.0
        assert error(steps[name], -0.1 * solve(layer.Omega, layer.Gamma, G[name], damping + tau, pi)) < 1e-9


def test_batchnorm_follows_the_momentum(device):
    f = make("batchnorm", device)
    optimizer, m = KFAC(f.space.parameters, lr=0.1, momentum=0.8, dampening=0.4), 0.0
    for _ in range(3):
        g = gradients(f)
        m = 0.8 * m + 0.6 * torch.cat([g["1.weight"], g["1.bias"]])
        step = moved(optimizer, f)
        assert error(torch.cat([step["1.weight"], step["1.bias"]]), -0.1 * m) < 1e-12


def test_momentum_is_preconditioned_and_weight_decay_is_not(device):
    f = make(device=device)
    optimizer = KFAC(
        f.space.parameters,
        lr=0.1,
        damping=0.3,
        momentum=0.8,
        dampening=0.4,
        weight_decay=0.5,
        inverse_period=100,
        early_inverses=False,
    )
    first, M = layers(f), dict.fromkeys(("0", "2"), 0.0)
    for _ in range(3):
        G, W = matrices(f, gradients(f)), matrices(f, f.space.named(f.space.get()))
        M = {name: 0.8 * M[name] + 0.6 * G[name] for name in G}
        steps = matrices(f, moved(optimizer, f))
        for name, layer in first.items():
            P = solve(layer.Omega, layer.Gamma, M[name], 0.3, balance(layer.Omega, layer.Gamma))
            assert error(steps[name], -0.1 * (P + 0.5 * W[name])) < 1e-9


@pytest.mark.parametrize("split", ["balanced", "equal"])
@pytest.mark.parametrize("fisher", ["true", "empirical"])
def test_of_one_linear_layer_and_one_sample_it_is_the_exact_fisher(fisher, split, device):
    """Then F = vec(Dh a') vec(Dh a')' is Gamma x Omega itself. Damped, (Gamma + r/pi I) x (Omega + pi r I) with r^2
    the damping is F + r^2 I and two cross terms, so the two directions agree as the damping goes to 0, in proportion
    to its root."""
    model = nn.Linear(4, C).double().to(device)
    f = Objective(model, Fixed(), batch((4,), 6, device, samples=1))
    layer = layers(f, "sampled" if fisher == "true" else "own")[""]
    assert error(torch.kron(layer.Gamma, layer.Omega), layer.fisher) < 1e-14
    if fisher == "true":  # the gradient in the span of F: the labels of the batch are those that the model draws
        f = f.with_batch((f.batch.inputs, SAMPLED[:1].to(device)))
    g, theta = layers(f, "own")[""].G.flatten(), f.space.get()
    for damping in (1e-6, 1e-10):
        f.space.assign_(theta)
        optimizer = KFAC(f.space.parameters, lr=1.0, damping=damping, fisher=fisher, split=split)
        step = -matrices(f, moved(optimizer, f))[""].flatten()
        factors = optimizer.factors[""]
        assert error(torch.kron(factors["Gamma"], factors["Omega"]), layer.fisher) < 1e-12
        exact = torch.linalg.solve(layer.fisher + damping * eye(layer.fisher), g)
        assert error(step, exact) < 20 * math.sqrt(damping)


def test_infinite_damping_is_scaled_momentum(device):
    for damping in (1e4, 1e8):
        f = make("conv", device)
        g = torch.cat([v.flatten() for v in gradients(f).values()])
        before = f.space.get()
        KFAC(f.space.parameters, lr=0.1, damping=damping).step(f)
        assert error((f.space.get() - before) * damping / 0.1, -g) < 30 / math.sqrt(damping)


def test_the_penalty_is_in_the_gradient_and_not_in_the_factors(device):
    f, plain = make(device=device, l2=0.5), make(device=device)
    expected, theta = layers(plain), f.space.get()
    G = {
        name: G + 0.5 * W
        for (name, G), W in zip(matrices(plain, gradients(plain)).items(), matrices(f, f.space.named(theta)).values())
    }
    steps = matrices(f, moved(KFAC(f.space.parameters, lr=0.1, damping=0.3), f))
    for name, layer in expected.items():
        assert (
            error(steps[name], -0.1 * solve(layer.Omega, layer.Gamma, G[name], 0.3, balance(layer.Omega, layer.Gamma)))
            < 1e-9
        )


def test_a_layer_that_gives_no_gradient_is_left_alone_and_hides_nothing(device):
    """A dead layer has Gamma = 0: pi is 1 there, and its direction 0."""
    f = make(device=device)
    with torch.no_grad():
        f.network.model[2].weight.zero_()
    step = moved(KFAC(f.space.parameters, lr=0.1), f)
    assert not step["0.weight"].any() and not step["0.bias"].any() and step["2.weight"].isfinite().all()


def test_what_cannot_be_inverted_is_not_a_number(device):
    """One sample of two inputs, no damping: Omega is singular."""
    f = make(device=device, samples=1)
    step = moved(KFAC(f.space.parameters, lr=0.1, damping=0.0), f)
    assert step["0.weight"].isnan().any()
    f = make(device=device)
    f.batch.inputs[0, 0] = math.nan
    assert KFAC(f.space.parameters, lr=0.1).step(f).isnan() and f.space.get().isnan().all()


# Levenberg-Marquardt


def adapting(f, **options):
    return KFAC(f.space.parameters, momentum=0.0, inverse_period=1, damping_rule="levenberg_marquardt", **options)


@pytest.mark.parametrize("momentum, start", [(0.0, 1e-3), (0.9, 0.5)])
def test_the_damping_follows_the_reduction_ratio(momentum, start, device):
    """rho = (f(theta) - f(theta + p)) / -(g'p + p'Bp/2), p = -B^-1 m whole whatever lr, B damped and formed densely."""
    f = make(device=device)
    optimizer = KFAC(
        f.space.parameters,
        lr=0.3,
        damping=start,
        tau=1e-3,
        momentum=momentum,
        inverse_period=1,
        damping_rule="levenberg_marquardt",
        boost=2.0,
        drop=0.5,
    )
    outputs = lambda at: torch.func.functional_call(f.network.model, f.space.named(at), (f.batch.inputs,))
    loss = lambda at: F.cross_entropy(outputs(at), f.batch.targets)
    damping, m, Omega, Gamma, seen = start, 0.0, {}, {}, set()
    for k in range(8):
        theta, G = f.space.get(), matrices(f, gradients(f))
        m = {name: momentum * (m[name] if k else 0.0) + G[name] for name in G}
        for name, layer in layers(f).items():
            decay = 0.9 if k else 0.0
            Omega[name] = decay * Omega.get(name, 0.0) + (1 - decay) * layer.Omega
            Gamma[name] = decay * Gamma.get(name, 0.0) + (1 - decay) * layer.Gamma
        p = {
            name: -solve(Omega[name], Gamma[name], m[name], damping + 1e-3, balance(Omega[name], Gamma[name]))
            for name in G
        }
        foreseen = -sum((G[name] * p[name]).sum() - (m[name] * p[name]).sum() / 2 for name in G)  # B p = -m
        whole = torch.cat([torch.cat([p["0"][:, :-1].flatten(), p["0"][:, -1]]), p["2"].flatten()])
        rho = (loss(theta) - loss(theta + whole)) / foreseen
        optimizer.step(f)
        assert error(f.space.get() - theta, 0.3 * whole) < 1e-8
        assert error(optimizer.diagnostics["rho"], rho) < 1e-6
        factor = 2.0 if rho < 0.25 else 0.5 if rho > 0.75 else 1.0
        damping, seen = damping * factor, seen | {factor}
        assert float(optimizer.diagnostics["damping"]) == damping
    assert len(seen) >= 2


def test_a_fixed_damping_makes_no_further_pass(device):
    f = make(device=device)
    KFAC(f.space.parameters).step(f)
    assert "loss" not in f.cost.used and f.cost.forwards == 1
    g = make(device=device)
    adapting(g).step(g)
    assert "loss" in g.cost.used and g.cost.forwards == 2


def test_a_failed_inverse_raises_the_damping_and_shows(device):
    f = make(device=device, samples=1)
    optimizer = adapting(f, lr=0.1, damping=0.0)
    optimizer.step(f)
    assert f.space.get().isnan().any() and optimizer.diagnostics["rho"].isnan()
    rule = levenberg_marquardt(torch.tensor(2.0), torch.tensor(math.nan), boost=1.5, drop=0.5)
    assert rule == 3.0


# Cost and state


def test_a_step_is_one_forward_and_a_backward_and_a_half(device):
    f = make(device=device)
    optimizer = KFAC(f.space.parameters, stats_period=2)
    counts = []
    for _ in range(4):
        before = f.cost.passes
        g = f.on(f.batch, f.streams)
        optimizer.step(g)
        counts.append((f.cost.passes - before) / N)
    assert counts == [4.0, 4.0, 3.0, 4.0]  # the first with the warm start, here on the same forward pass


@pytest.mark.parametrize(
    "model, options",
    [
        ("mlp", {}),
        ("batchnorm", {"stats_period": 2, "inverse_period": 3}),
        ("mlp", {"damping_rule": "levenberg_marquardt"}),
    ],
)
def test_resume(model, options, device):
    f, g = make(model, device), make(model, device)
    straight = KFAC(f.space.parameters, lr=0.1, **options)
    for _ in range(6):
        straight.step(f.on(f.batch))
    first, second = KFAC(g.space.parameters, lr=0.1, **options), KFAC(g.space.parameters, lr=0.1, **options)
    for _ in range(3):
        first.step(g.on(g.batch))
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    for _ in range(3):
        second.step(g.on(g.batch))
    assert torch.equal(f.space.get(), g.space.get())
