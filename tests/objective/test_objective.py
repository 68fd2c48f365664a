"""Tests of every oracle against dense autograd on models and losses: its values, its cost and what it leaves alone."""

import gc
from functools import cache
from weakref import WeakSet

import pytest
import torch
from problems import LOSSES, MODELS, ORACLES, Dense, Source, error, noise, pairs, problem
from torch import nn

from sobench import Objective
from sobench.losses import CrossEntropy
from sobench.training.streams import Streams

TOLERANCE = 1e-10
GRID = pairs([name for name in MODELS if name != "dropout"], list(LOSSES))


def penalty(model, loss):
    """That of a pair: half of the pairs have none, among the usual ones of each loss too."""
    return 0.3 * ((list(MODELS).index(model) + list(LOSSES).index(loss)) % 2)


def objective(p, **kwargs):
    return Objective(p.model, p.loss, p.batch, l2=p.l2, **kwargs)


@cache
def dense(model, loss, l2, device, elsewhere):
    p = problem(model, loss, l2=l2, device=device)
    return Dense(p, p.elsewhere() if elsewhere else None)


@pytest.fixture(params=[False, True], ids=["here", "elsewhere"])
def case(model, loss, device, request):
    """(f, at, what every oracle must give there)."""
    l2 = penalty(model, loss)
    p = problem(model, loss, l2=l2, device=device)
    return objective(p), p.elsewhere() if request.param else None, dense(model, loss, l2, device, request.param)


# Values


@pytest.mark.parametrize(("model", "loss"), GRID)
def test_closure(model, loss, device):
    l2 = penalty(model, loss)
    p, expected = problem(model, loss, l2=l2, device=device), dense(model, loss, l2, device, False)
    trainable = [q for q in p.model.parameters() if q.requires_grad]
    for q in trainable:
        q.grad = torch.full_like(q, 7.0)
    value = objective(p)()
    assert error(value, expected.value) < TOLERANCE and not value.requires_grad
    assert error(torch.cat([q.grad.flatten() for q in trainable]), expected.gradient) < TOLERANCE


@pytest.mark.parametrize(("model", "loss"), GRID)
def test_value_and_gradient(case, model, loss):
    f, at, expected = case
    value, gradient = f.value_and_grad(at)
    assert error(value, expected.value) < TOLERANCE and error(f.loss(at), expected.value) < TOLERANCE
    assert error(gradient, expected.gradient) < TOLERANCE
    assert not (value.requires_grad or gradient.requires_grad)


@pytest.mark.parametrize("matrix", ["hessian", "ggn"])
@pytest.mark.parametrize(("model", "loss"), GRID)
def test_curvature(case, matrix, model, loss):
    f, at, expected = case
    A, expected = getattr(f, matrix)(at), getattr(expected, matrix)
    V = noise((len(expected), 3), 8).to(expected)
    assert error(A.dense(), expected) < TOLERANCE
    assert error(A @ V[:, 0], expected @ V[:, 0]) < TOLERANCE
    assert error(A @ V, expected @ V) < TOLERANCE
    assert error((A + 2.0) @ V, expected @ V + 2 * V) < TOLERANCE
    assert not (A @ V).requires_grad


@pytest.mark.parametrize(("model", "loss"), GRID)
def test_per_sample_gradients_and_output_jacobian(case, model, loss):
    f, at, expected = case
    assert error(f.per_sample_grads(at), expected.per_sample) < TOLERANCE
    assert error(f.output_jacobian(at), expected.jacobian) < TOLERANCE


@pytest.mark.parametrize("l2", [0.0, 0.3])
@pytest.mark.parametrize("loss", LOSSES)
def test_complex_step(loss, l2, device):
    p = problem("mlp_tanh", loss, l2=l2, device=device)
    v, h = noise(p.theta.shape, 9).to(p.theta), 1e-20
    for theta, there in ((p.theta, False), (p.elsewhere(), True)):
        slope = objective(p).loss(theta + 1j * h * v).imag / h
        assert error(slope, dense("mlp_tanh", loss, l2, device, there).gradient @ v) < 1e-12


def test_inside_no_grad_every_oracle_is_the_same(device):
    p = problem("mlp_tanh", "cross_entropy", device=device)
    for name, oracle in ORACLES.items():
        make = lambda: objective(p, source=Source(p), streams=Streams(0, device).at(1))
        expected = oracle(make())
        with torch.no_grad():
            torch.testing.assert_close(oracle(make()), expected, rtol=0, atol=0, msg=name)


# What is left alone


@pytest.mark.parametrize("oracle", ORACLES)
@pytest.mark.parametrize("model", ["mlp_tanh", "batchnorm", "batchnorm_eval", "dropout"])
def test_oracles_leave_everything_alone(model, oracle, device):
    p = problem(model, "cross_entropy", l2=0.1, device=device)
    f = objective(p, source=Source(p), streams=Streams(0, device).at(1))
    for q in p.model.parameters():
        q.grad = torch.full_like(q, 7.0)
    before = everything(p.model, device)
    ORACLES[oracle](f)
    torch.testing.assert_close(everything(p.model, device), before, rtol=0, atol=0)
    assert oracle in f.cost.used and "closure" not in f.cost.used
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in p.model.modules())


def everything(model, device):
    """Parameters and buffers, gradients, random states."""
    tensors = {name: t.clone() for name, t in model.state_dict().items()}
    grads = {name: q.grad.clone() for name, q in model.named_parameters()}
    return tensors, grads, torch.get_rng_state(), torch.cuda.get_rng_state(device) if device.type == "cuda" else None


@pytest.mark.parametrize("by", ["closure", "commit"])
def test_only_the_closure_and_commit_write_batchnorm_statistics(by, device):
    p, plain = (problem("batchnorm", "cross_entropy", device=device) for _ in range(2))
    f = objective(p)
    plain.model(plain.batch[0])
    f.value_and_grad(), f.value_and_grad(p.elsewhere()), f.hessian()
    f() if by == "closure" else f.commit()
    for (name, expected), actual in zip(plain.model.named_buffers(), p.model.buffers()):
        assert torch.equal(actual, expected), name


def test_the_mode_is_the_one_the_model_is_in_now(device):
    p = problem("batchnorm_eval", "cross_entropy", device=device)
    f, before = objective(p), {name: b.clone() for name, b in p.model.named_buffers()}
    for training in (False, True, False):
        p.model.train(training)
        expected = Dense(p)
        assert error(f.value_and_grad()[1], expected.gradient) < TOLERANCE
        assert error(f.per_sample_grads(), expected.per_sample) < TOLERANCE
    for name, b in p.model.named_buffers():
        assert torch.equal(b, before[name])


# The kept pass

WRITES = {
    "assign_": lambda f, theta: f.space.assign_(theta),
    "no_grad copy_": lambda f, theta: [p.copy_(q) for p, q in zip(f.space.parameters, f.space.unflatten(theta))],
    "new data": lambda f, theta: nn.utils.vector_to_parameters(theta, f.space.parameters),
    "load_state_dict": lambda f, theta: f.network.model.load_state_dict(f.space.named(theta)),
}


@pytest.mark.parametrize("write", WRITES)
def test_after_a_write_nothing_is_stale(write, device):
    p = problem("mlp_tanh", "cross_entropy", l2=0.1, device=device)
    f, there = objective(p), p.elsewhere()
    f.hessian(), f.value_and_grad()
    assert error(f.value_and_grad(there)[1], Dense(p, there).gradient) < TOLERANCE
    with torch.no_grad():
        WRITES[write](f, there)
    expected = Dense(p, there)
    assert error(f.value_and_grad()[1], expected.gradient) < TOLERANCE
    assert error(f.hessian().dense(), expected.hessian) < TOLERANCE
    assert error(f.ggn().dense(), expected.ggn) < TOLERANCE


@pytest.mark.parametrize("name", ["SGD", "Adam", "RMSprop"])
def test_after_a_step_of_torchs_optimizers_nothing_is_stale(name, device):
    p = problem("mlp_tanh", "cross_entropy", device=device)
    f, optimizer = objective(p), getattr(torch.optim, name)(p.model.parameters(), lr=0.1)
    for _ in range(2):
        assert error(f.value_and_grad()[1], Dense(p).gradient) < TOLERANCE
        optimizer.step(f)


class Counted(torch.autograd.Function):
    """x^2, and the set of its live graph nodes."""

    live: WeakSet = WeakSet()

    @staticmethod
    def forward(ctx, x):
        Counted.live.add(ctx)
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx, grad):
        return 2 * ctx.saved_tensors[0] * grad


class Square(nn.Module):
    def forward(self, x):
        return Counted.apply(x)


def test_graphs_are_freed_without_the_garbage_collector():
    x, y = noise((6, 4), 1), torch.arange(6) % 3
    model = nn.Sequential(nn.Linear(4, 5), Square(), nn.Linear(5, 3)).double()
    without = ("per_sample_grads", "output_jacobian", "curvature", "complex")  # no graph, or no Function in it
    first = Objective(model, CrossEntropy(), (x, y), source=Source(problem("mlp_tanh", "cross_entropy")))
    gc.collect()
    gc.disable()
    try:
        for name, oracle in ORACLES.items():
            if name not in without:
                f = first.on((x, y))
                oracle(f)
                f.space.assign_(f.space.get() * 0.9)
                oracle(f)
                assert len(Counted.live) <= 1, name  # the kept pass
                del f
                assert len(Counted.live) == 0, name
    finally:
        gc.enable()


# The meter


def propagated(f, gradient=False):
    """A pass to the layers' outputs alone costs half a backward pass: one forward."""
    with f.record():
        if gradient:
            f.value_and_grad()
        (f.sampled() if gradient else f).propagate()


COSTS = {  # oracle: (model, calls, (forwards, backwards, products, samples, passes)), N = 6, C = 3
    "closure": ("mlp_tanh", lambda f: f(), (1, 1, 0, 6, 18)),
    "loss": ("mlp_tanh", lambda f: f.loss(), (1, 0, 0, 6, 6)),
    "complex loss": ("mlp_tanh", lambda f: f.loss(f.space.get() + 0j), (1, 0, 0, 6, 24)),
    "complex gradient": ("mlp_tanh", lambda f: f.value_and_grad(f.space.get() + 0j), (1, 1, 0, 6, 72)),
    "curvature": ("mlp_tanh", lambda f: f.curvature(f.space.get()), (1, 0, 0, 6, 72)),
    "full curvature": ("mlp_tanh", lambda f: f.full().curvature(f.space.get()), (3, 0, 0, 11, 132)),
    "gradient": ("mlp_tanh", lambda f: f.value_and_grad(), (1, 1, 0, 6, 18)),
    "gradient elsewhere": ("mlp_tanh", lambda f: f.value_and_grad(f.space.get()), (1, 1, 0, 6, 18)),
    "two gradients, one forward": ("mlp_tanh", lambda f: (f.value_and_grad(), f.value_and_grad()), (1, 2, 0, 6, 30)),
    "hessian": ("mlp_tanh", lambda f: f.hessian(), (1, 1, 0, 6, 18)),
    "hessian, then gradient": ("mlp_tanh", lambda f: (f.hessian(), f.value_and_grad()), (1, 1, 0, 6, 18)),
    "two hessians": ("mlp_tanh", lambda f: (f.hessian(), f.hessian()), (1, 1, 0, 6, 18)),
    "hessian @ v": ("mlp_tanh", lambda f: f.hessian() @ f.space.get(), (1, 1, 1, 6, 42)),
    "hessian @ V": ("mlp_tanh", lambda f: f.hessian() @ f.space.get().expand(3, -1).T, (1, 1, 3, 6, 90)),
    "dense hessian": ("mlp_tanh", lambda f: f.hessian().dense(), (1, 1, 64, 6, 18 + 24 * 64)),
    "ggn": ("mlp_tanh", lambda f: f.ggn(), (1, 1, 0, 6, 18)),
    "ggn, then gradient": ("mlp_tanh", lambda f: (f.ggn(), f.value_and_grad()), (1, 2, 0, 6, 30)),
    "ggn @ v": ("mlp_tanh", lambda f: f.ggn() @ f.space.get(), (1, 1, 1, 6, 42)),
    "per sample": ("mlp_tanh", lambda f: f.per_sample_grads(), (1, 1, 0, 6, 18)),
    "per sample, coupled": ("batchnorm", lambda f: f.per_sample_grads(), (1, 1, 0, 6, 6 + 6 * 12)),
    "jacobian": ("mlp_tanh", lambda f: f.output_jacobian(), (1, 1, 0, 6, 6 + 3 * 12)),
    "jacobian, coupled": ("batchnorm", lambda f: f.output_jacobian(), (1, 1, 0, 6, 6 + 18 * 12)),
    "summary by series": ("mlp_tanh", ORACLES["summary"], (1, 1, 6, 6, 18 + 6 * 2 * 6)),
    "summary by products": ("batchnorm", ORACLES["summary"], (2, 1, 6, 12, 24 + 6 * (4 + 8) * 6)),
    "sampled": ("mlp_tanh", lambda f: (f.value_and_grad(), f.sampled().value_and_grad()), (1, 2, 0, 6, 30)),
    "propagate": ("mlp_tanh", propagated, (1, 1, 0, 6, 12)),
    "gradient, sampled propagate": ("mlp_tanh", lambda f: propagated(f, gradient=True), (1, 2, 0, 6, 24)),
    "propagate_roots": ("mlp_tanh", ORACLES["propagate_roots"], (1, 1, 0, 6, 6 + 3 * 6)),
    "propagate, then accumulate": ("mlp_tanh", ORACLES["accumulate"], (1, 1, 0, 6, 18)),
    "independent_batch": ("mlp_tanh", lambda f: f.independent_batch().value_and_grad(), (1, 1, 0, 6, 18)),
    "batches": ("mlp_tanh", lambda f: [g.value_and_grad() for g in f.batches()], (1, 1, 0, 6, 18)),
    "full": ("mlp_tanh", lambda f: f.full().value_and_grad(), (3, 3, 0, 11, 33)),
    "full hessian @ v": ("mlp_tanh", lambda f: f.full().hessian() @ f.space.get(), (3, 3, 3, 11, 33 + 44)),
}


@pytest.mark.parametrize("oracle", COSTS)
def test_cost(oracle, device):
    model, call, expected = COSTS[oracle]
    p = problem(model, "cross_entropy", device=device)
    f = objective(p, source=Source(p))
    call(f)
    assert tuple(f.cost.counts().values()) == expected
    assert f.cost.work(training_samples=11) == pytest.approx(expected[-1] / 33)
