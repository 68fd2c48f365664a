"""Multi-batch L-BFGS against the two-loop recursion and gradients of plain autograd, in float64."""

import copy

import pytest
import torch
from objectives import make
from problems import Dense, error, noise
from torch import nn

from sobench import Objective
from sobench.linalg.quasi_newton import Scaled
from sobench.losses import CrossEntropy
from sobench.optim.robust_lbfgs import RobustLBFGS

SETTINGS = {"lr": 0.4, "history": 3}


def batches(p, steps, sizes=(8,)):
    """Batches of their own random inputs, and of the problem's labels over and over."""
    inputs, targets = p.batch
    for k in range(steps):
        m = sizes[k % len(sizes)]
        yield noise((m, *inputs.shape[1:]), 20 + k).to(inputs), (targets.repeat(2)[:m] + k) % 3


def two_loops(pairs, g):
    """Nocedal and Wright, algorithm 7.4: H g, the latest pair last."""
    q, alphas = g, []
    for s, y in reversed(pairs):
        alphas.append(s @ q / (s @ y))
        q = q - alphas[-1] * y
    s, y = pairs[-1] if pairs else (g, g)
    r = s @ y / (y @ y) * q
    for (s, y), alpha in zip(pairs, reversed(alphas)):
        r = r + s * (alpha - y @ r / (s @ y))
    return r


def by_hand(p, each, share, lr, history, cautious=1e-8):
    """(theta after each step, whether its pair was taken), the model moved along."""
    thetas, taken, pairs, before = [], [], [], None
    for inputs, targets in each:
        o = round(share * len(inputs))
        overlap, theta = (inputs[-o:], targets[-o:]), p.theta
        sample = (inputs, targets)
        if before is not None:
            old, w, g_old = before
            s, y = theta - w, Dense(p, batch=old).gradient.detach() - g_old
            taken.append(bool(s @ y >= cautious * (s @ s) and s @ y > 0))
            pairs = ([*pairs, (s, y)] if taken[-1] else pairs)[-history:]
            sample = tuple(torch.cat(part) for part in zip(old, sample))
        before = overlap, theta, Dense(p, batch=overlap).gradient.detach()
        thetas.append(theta - lr * two_loops(pairs, Dense(p, batch=sample).gradient.detach()))
        nn.utils.vector_to_parameters(thetas[-1], p.model.parameters())
    return thetas, taken


def run(p, f, each, share, **settings):
    optimizer = RobustLBFGS(p.model.parameters(), overlap=share, **settings)
    thetas, taken = [], []
    for batch in each:
        optimizer.step(f.on(batch))
        thetas.append(p.theta)
        taken += [bool(optimizer.diagnostics["pair_taken"])] if optimizer.diagnostics else []
    return optimizer, thetas, taken


@pytest.mark.parametrize("model", ["mlp_tanh", "conv_maxpool"])
def test_one_batch_and_full_overlap_are_lbfgs_with_constant_step(model, device):
    """L-BFGS of one function: s and y from successive points, nothing sampled."""
    p, f = make(model, device=device, l2=0.1)
    q = copy.deepcopy(p)
    _, thetas, taken = run(p, f, [p.batch] * 8, 1.0, **SETTINGS)
    theta, pairs = q.theta, []
    g = Dense(q).gradient.detach()
    for found in thetas:
        s = -SETTINGS["lr"] * two_loops(pairs[-3:], g)
        theta = theta + s
        assert error(found, theta) < 1e-9
        after = Dense(q, theta).gradient.detach()
        pairs, g = [*pairs, (s, after - g)], after
    assert all(taken) and len(taken) == 7


@pytest.mark.parametrize("share", [0.25, 0.5, 0.75])
@pytest.mark.parametrize(("model", "l2"), [("mlp_tanh", 0.0), ("mlp_relu", 0.2), ("conv_avgpool", 0.0)])
def test_batches_that_differ_share_their_overlap(model, l2, share, device):
    p, f = make(model, device=device, l2=l2)
    q = copy.deepcopy(p)
    _, thetas, taken = run(p, f, batches(p, 8, sizes=(8, 12)), share, **SETTINGS)
    expected, skips = by_hand(q, batches(q, 8, sizes=(8, 12)), share, **SETTINGS)
    assert taken == skips
    for found, theta in zip(thetas, expected, strict=True):
        assert error(found, theta) < 1e-9


def test_the_secant_equation_holds_on_the_overlap(device):
    p, f = make(device=device)
    each = list(batches(p, 5))
    optimizer, thetas, taken = run(p, f, each, 0.5, **SETTINGS)
    overlap, (before, after) = tuple(part[-4:] for part in each[3]), thetas[2:4]
    y = Dense(p, after, overlap).gradient.detach() - Dense(p, before, overlap).gradient.detach()
    assert taken[-1] and error(Scaled(optimizer.global_state["H"]) @ y, after - before) < 1e-9


def test_in_single_precision_h_is_as_good_as_the_two_loops(device):
    """On the pairs of a run of small steps, against the two loops in float64: within 20 times what the loops lose."""
    p, f = make(device=device)
    p.model.float()
    f = Objective(p.model, p.loss, (p.batch[0].float(), p.batch[1]))
    optimizer, worst = RobustLBFGS(p.model.parameters(), lr=0.01), 0.0
    for k, (inputs, targets) in enumerate(batches(p, 60)):
        optimizer.step(f.on((inputs.float(), targets)))
        H, g = Scaled(optimizer.global_state["H"]), noise((f.space.size,), k).to(device, torch.float32)
        kept = [(s, y) for s, y in H.state["pairs"][H.state["order"]] if s.any()]
        exact = two_loops([(s.double(), y.double()) for s, y in kept], g.double())
        found, loops = ((r.double() - exact).norm() for r in (H @ g, two_loops(kept, g)))
        worst = max(worst, float(found / loops)) if kept else worst
    assert 0 < worst < 20


def test_the_cautious_rule_skips_some_pairs_and_no_others(device):
    p, f = make(device=device)
    q = copy.deepcopy(p)
    _, thetas, taken = run(p, f, batches(p, 12), 0.25, cautious=0.1, **SETTINGS)
    expected, skips = by_hand(q, batches(q, 12), 0.25, cautious=0.1, **SETTINGS)
    assert taken == skips and 0 < sum(taken) < len(taken)
    assert error(thetas[-1], expected[-1]) < 1e-9


def test_no_pair_is_gradient_descent_on_the_samples_of_two_batches(device):
    p, f = make(device=device)
    each = list(batches(p, 2))
    _, (first, second), _ = run(p, f, each, 1.0, lr=0.3, cautious=1e9)
    both = tuple(torch.cat(part) for part in zip(*each))
    assert error(second, first - 0.3 * Dense(p, first, both).gradient.detach()) < 1e-12


@pytest.mark.parametrize(
    ("m", "share", "overlap"), [(8, 0.25, 2), (8, 1.0, 8), (8, 0.01, 2), (3, 0.25, 3), (8, 0.9, 8), (1, 0.5, 1)]
)
def test_the_meter_counts_the_batch_and_the_overlap(m, share, overlap, device):
    """An overlap has two samples at least, and all where one would be left."""
    p, f = make(device=device)
    optimizer, _, _ = run(p, f, [tuple(part[:1].repeat(m, *[1] * (part.dim() - 1)) for part in p.batch)] * 3, share)
    assert len(optimizer.global_state["inputs"]) == overlap
    assert f.cost.samples == 3 * m + 2 * overlap and f.cost.passes == 3 * f.cost.samples


@pytest.mark.parametrize("share", [0.25, 0.75])
def test_batchnorm_moves_its_statistics_once_a_step_by_the_larger_pass(share, device):
    p, f = make("batchnorm_conv", device=device)
    optimizer = RobustLBFGS(p.model.parameters(), overlap=share)
    for inputs, targets in batches(p, 4):
        twin = copy.deepcopy(p.model)
        twin(inputs[:6] if share == 0.25 else inputs[2:])
        optimizer.step(step := f.on((inputs, targets)))
        step.commit()
        for found, expected in zip(p.model.buffers(), twin.buffers(), strict=True):
            assert torch.allclose(found, expected, rtol=1e-12)
    assert p.theta.isfinite().all()


def test_token_ids_are_inputs_too(device):
    """With the whole set as batch and overlap it minimises; the ids are kept as they are."""
    model = nn.Sequential(nn.Embedding(7, 2), nn.Flatten(), nn.Tanh(), nn.Linear(6, 3)).double().to(device)
    f = Objective(
        model, CrossEntropy(), ((torch.arange(24).view(8, 3) % 7).to(device), (torch.arange(8) % 3).to(device))
    )
    f.space.assign_(noise((f.space.size,), 5).to(device))
    optimizer = RobustLBFGS(model.parameters(), lr=0.5, overlap=1.0)
    losses = [float(optimizer.step(f.on(f.batch))) for _ in range(20)]
    assert optimizer.global_state["inputs"].dtype == torch.int64 and losses[-1] < 0.1 * losses[0]


def test_what_it_keeps_of_a_batch_is_its_own(device):
    """Not a view: a batch that is written to later changes no gradient, and a checkpoint does not hold all of it."""
    p, f = make(device=device)
    for share in (0.5, 1.0):
        optimizer, _, _ = run(p, f, [p.batch], share)
        kept = optimizer.global_state["inputs"]
        assert kept.untyped_storage().nbytes() == kept.numel() * 8
        assert kept.untyped_storage().data_ptr() != p.batch[0].untyped_storage().data_ptr()
