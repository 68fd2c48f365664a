"""Random streams: their addresses, and the labels, batches and dropout masks that the objective draws from them."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import ORACLES, Dense, Source, error, noise, problem
from scipy.stats import chisquare
from torch import nn

from sobench import Objective
from sobench.errors import Unsupported
from sobench.losses import BinaryCrossEntropy, CrossEntropy, SquaredError
from sobench.training.streams import NAMES, Streams

seeds = st.integers(0, 2**63)


def numbers(generator) -> list[float]:
    return torch.rand(4, generator=generator, device=generator.device).tolist()


@settings(max_examples=50, deadline=None)
@given(seed=seeds, name=st.sampled_from(NAMES), position=st.lists(st.integers(0, 2**31), max_size=2))
def test_a_stream_depends_on_its_address_alone(seed, name, position):
    streams = Streams(seed)
    first = numbers(streams.generator(name, *position))
    numbers(streams.generator("order", 1, 2, 3))
    assert numbers(streams.generator(name, *position)) == first == numbers(Streams(seed).generator(name, *position))
    assert 0 <= streams.entropy(name, *position) < 2**63


def test_addresses_do_not_collide():
    positions = [(), (0,), (1,), (0, 0), (0, 1), (1, 0)]
    addresses = [(seed, name, *at) for seed in range(3) for name in NAMES for at in positions]
    assert len({Streams(seed).entropy(name, *at) for seed, name, *at in addresses}) == len(addresses)


def test_the_nth_draw_of_a_step_is_the_same_whatever_else_is_drawn(device):
    alone, busy = Streams(5, device).at(3), Streams(5, device).at(3)
    expected = [numbers(alone.generator("fresh")) for _ in range(3)]
    found = []
    for _ in range(3):
        numbers(busy.generator("labels"))
        found.append(numbers(busy.generator("fresh")))
    assert found == expected and len({tuple(x) for x in expected}) == 3
    assert numbers(Streams(5, device).at(4).generator("fresh")) not in expected
    assert Streams(5, device).at(3).entropy("dropout") == busy.entropy("dropout") == busy.entropy("dropout")


# Labels


def with_outputs(z, loss, samples, streams=None):
    """An objective whose model gives the outputs z [C] for every one of its samples."""
    model = nn.Linear(1, len(z)).to(z)
    with torch.no_grad():
        model.weight.zero_()
        model.bias.copy_(z)
    targets = torch.zeros(samples, dtype=torch.int64) if loss.takes == "labels" else torch.zeros(samples, len(z)).to(z)
    return Objective(model, loss, (torch.zeros(samples, 1).to(z), targets.to(z.device)), streams=streams)


def test_sampled_labels_follow_the_predictive_distribution(device):
    z, n = torch.tensor([-1.0, 0.0, 0.5, 2.0], dtype=torch.float64, device=device), 20_000
    draw = lambda loss: with_outputs(z, loss, n, Streams(0, device).at(1)).sampled().batch.targets
    counts = draw(CrossEntropy()).bincount(minlength=4)
    assert chisquare(counts.cpu(), (n * z.softmax(0)).cpu()).pvalue > 1e-3
    ones = draw(BinaryCrossEntropy()).sum(0)
    for count, p in zip(ones.tolist(), z.sigmoid().tolist()):
        assert chisquare([count, n - count], [n * p, n * (1 - p)]).pvalue > 1e-3
    values = draw(SquaredError())
    assert ((values.mean(0) - z).abs() < 4 / n**0.5).all() and ((values.var(0) - 1).abs() < 6 / n**0.5).all()


def test_the_sampled_gradient_is_that_of_its_labels_on_the_same_forward(device):
    p = problem("mlp_tanh", "cross_entropy", l2=0.3, device=device)
    f = Objective(p.model, p.loss, p.batch, l2=0.3, streams=Streams(0, device).at(1))
    f.value_and_grad()
    s = f.sampled()
    assert torch.equal(s.batch.inputs, f.batch.inputs) and s.cost is f.cost
    expected = Dense(p, None, tuple(s.batch))
    assert error(s.value_and_grad()[1], expected.gradient) < 1e-10 and f.cost.forwards == 1
    assert error(s.ggn().dense(), expected.ggn) < 1e-10 and f.cost.forwards == 1
    assert error(s.hessian().dense(), expected.hessian) < 1e-10 and f.cost.forwards == 1
    assert error(f.value_and_grad()[1], Dense(p).gradient) < 1e-10


def test_labels_repeat_with_the_step_and_outside_the_harness_with_torchs_seed(device):
    p = problem("mlp_tanh", "squared_error", device=device)
    draw = lambda step: Objective(p.model, p.loss, p.batch, streams=Streams(0, device).at(step)).sampled().batch.targets
    assert torch.equal(draw(1), draw(1)) and not torch.equal(draw(1), draw(2))
    outside = []
    with torch.random.fork_rng():
        for _ in range(2):
            torch.manual_seed(3)
            outside.append(Objective(p.model, p.loss, p.batch).sampled().batch.targets)
    assert torch.equal(*outside)


def test_a_loss_without_a_distribution_has_no_labels_to_sample():
    p = problem("mlp_tanh", "squared_hinge")
    with pytest.raises(Unsupported, match="no predictive distribution"):
        Objective(p.model, p.loss, p.batch).sampled()


# Batches of the training set


def numbered(device, samples=14, size=4, step=1):
    """An objective of `size` samples of a training set whose inputs are their numbers n and whose labels n mod 3."""
    p = problem("mlp_tanh", "cross_entropy", samples=samples, device=device)
    source = Source(p, samples=samples)
    source.inputs[:, 0], source.targets[:] = (
        torch.arange(samples, device=device),
        torch.arange(samples, device=device) % 3,
    )
    batch = source.inputs[:size], source.targets[:size]
    return Objective(p.model, p.loss, batch, source=source, streams=Streams(0, device).at(step))


def test_batches_are_the_training_set_once_without_the_remainder(device):
    f = numbered(device)
    batches = list(f.batches())
    seen = [batch.inputs[:, 0].long().tolist() for batch in (g.batch for g in batches)]
    assert (
        [len(s) for s in seen] == [4, 4, 4] and len(set(sum(seen, []))) == 12 and set(sum(seen, [])) <= set(range(14))
    )
    assert sum(seen, []) != sorted(sum(seen, []))
    assert all(torch.equal(g.batch.targets, g.batch.inputs[:, 0].long() % 3) and g.cost is f.cost for g in batches)


def test_batches_repeat_with_the_step_and_shift_no_other_stream(device):
    order = lambda f: [g.batch.inputs[:, 0].tolist() for g in f.batches()]
    assert order(numbered(device)) == order(numbered(device)) != order(numbered(device, step=2))
    f, other = numbered(device), numbered(device)
    list(f.batches())
    assert torch.equal(f.sampled().batch.targets, other.sampled().batch.targets)
    assert numbers(f.generator("probe")) == numbers(other.generator("probe"))


def test_every_batch_draws_labels_of_its_own(device):
    z = torch.zeros(3, dtype=torch.float64, device=device)
    f = with_outputs(z, CrossEntropy(), 50, Streams(0, device).at(1))
    f.source = type("Twice", (), {"batches": lambda self, size, generator: iter([f.batch, f.batch])})()
    first, second = (g.sampled().batch.targets for g in f.batches())
    assert not torch.equal(first, second)


def test_without_a_training_set_the_batch_is_all_there_is(device):
    p = problem("mlp_tanh", "cross_entropy", device=device)
    f = Objective(p.model, p.loss, p.batch)
    assert list(f.batches()) == [f]


# Dropout


@pytest.fixture(params=[True, False], ids=["streams", "outside the harness"])
def dropout(request, device):
    p = problem("dropout", "cross_entropy", l2=0.3, device=device)
    streams = Streams(0, device).at(1) if request.param else None
    return Objective(p.model, p.loss, p.batch, l2=0.3, source=Source(p), streams=streams)


def test_every_pass_on_a_batch_has_one_mask(dropout):
    f = dropout
    value, gradient = f.value_and_grad()
    theta = f.space.get()
    for other in (f.loss(), f(), f.loss(theta), f.value_and_grad(theta)[0]):
        assert error(other, value) < 1e-14
    assert error(f.space.flatten([p.grad for p in f.space.parameters]), gradient) < 1e-13
    assert error(f.per_sample_grads().mean(0), gradient) < 1e-13
    v, h = noise(theta.shape, 1).to(theta), 1e-5
    slope = (f.loss(theta + h * v) - f.loss(theta - h * v)) / (2 * h)
    assert error(slope, gradient @ v) < 1e-6
    Hv = (f.value_and_grad(theta + h * v)[1] - f.value_and_grad(theta - h * v)[1]) / (2 * h)
    assert error(f.hessian() @ v, Hv) < 1e-6
    JV = f.output_jacobian() @ v
    with f.record() as io:
        f.loss()
    q = io["3"].outputs.softmax(1)  # H_z of the cross entropy is diag(q) - q q'
    HJV = q * JV - q * (q * JV).sum(1, keepdim=True)
    expected = torch.einsum("ncp,nc->p", f.output_jacobian(), HJV) / len(f) + 0.3 * v
    assert error(f.ggn() @ v, expected) < 1e-12


def test_the_mask_is_the_steps_own(device):
    p = problem("dropout", "cross_entropy", device=device)
    at = lambda step: Objective(p.model, p.loss, p.batch, streams=Streams(0, device).at(step)).loss()
    assert torch.equal(at(1), at(1)) and not torch.equal(at(1), at(2))


@pytest.mark.parametrize("oracle", sorted(ORACLES.keys() - {"sampled", "independent_batch", "batches"}))
def test_the_global_random_state_is_left_alone(oracle, dropout):
    f = dropout
    state = torch.get_rng_state()
    ORACLES[oracle](f), f()
    assert torch.equal(torch.get_rng_state(), state)
