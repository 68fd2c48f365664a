"""Tests of full() against dense autograd over unequal chunks, of independent_batch(), and of a missing training set."""

import pytest
import torch
from problems import LOSSES, Dense, Source, error, noise, pairs, problem

from sobench import Objective
from sobench.errors import Unsupported
from sobench.training.streams import Streams

TOLERANCE = 1e-10
MODELS = ["mlp_tanh", "mlp_relu", "conv_maxpool", "batchnorm_eval", "partial"]


def make(model, loss, l2=0.0, device="cpu", sizes=(5, 4, 2), streams=None):
    """A problem, its objective with a source of 11 samples, and all the samples."""
    p = problem(model, loss, l2=l2, device=device)
    source = Source(p, sizes=sizes)
    f = Objective(p.model, p.loss, p.batch, l2=l2, source=source, streams=streams)
    return p, f, (source.inputs, source.targets)


@pytest.fixture(params=[False, True], ids=["here", "elsewhere"])
def elsewhere(request):
    return request.param


@pytest.mark.parametrize("sizes", [(5, 4, 2), (11,), (1, 10)], ids=str)
@pytest.mark.parametrize(("model", "loss"), pairs(MODELS, list(LOSSES)))
def test_values_and_gradients(model, loss, sizes, elsewhere, device):
    p, f, everything = make(model, loss, 0.3, device, sizes)
    at = p.elsewhere() if elsewhere else None
    F, expected = f.full(), Dense(p, at, everything)
    value, gradient = F.value_and_grad(at)
    assert error(value, expected.value) < TOLERANCE and error(F.loss(at), expected.value) < TOLERANCE
    assert error(gradient, expected.gradient) < TOLERANCE
    assert error(F.per_sample_grads(at), expected.per_sample) < TOLERANCE
    assert error(F.output_jacobian(at), expected.jacobian) < TOLERANCE
    assert len(F) == 11 and len(f) == 6 and F.cost is f.cost


@pytest.mark.parametrize("matrix, l2", [("hessian", 0.0), ("hessian", 0.3), ("ggn", 0.3)])
@pytest.mark.parametrize("loss", LOSSES)
def test_curvature(loss, matrix, l2, elsewhere, device):
    p, f, everything = make("mlp_tanh", loss, l2, device)
    at = p.elsewhere() if elsewhere else None
    A, expected = getattr(f.full(), matrix)(at), getattr(Dense(p, at, everything), matrix)
    V = noise((len(expected), 3), 8).to(expected)
    assert error(A.dense(), expected) < TOLERANCE
    assert error(A @ V[:, 0], expected @ V[:, 0]) < TOLERANCE
    assert error((A + 2.0) @ V, expected @ V + 2 * V) < TOLERANCE


@pytest.mark.parametrize("model", ["mlp_tanh", "partial"])
def test_closure(model, device):
    p, f, everything = make(model, "cross_entropy", 0.3, device)
    value, expected = f.full()(), Dense(p, None, everything)
    gradient = torch.cat([q.grad.flatten() for q in p.model.parameters() if q.requires_grad])
    assert error(value, expected.value) < TOLERANCE and error(gradient, expected.gradient) < TOLERANCE


def test_batchnorm_sees_one_chunk_at_a_time(device):
    p, f, (inputs, targets) = make("batchnorm", "cross_entropy", 0.3, device)
    chunks = [Dense(p, None, chunk) for chunk in zip(inputs.split((5, 4, 2)), targets.split((5, 4, 2)))]
    expected = sum(n / 11 * chunk.gradient for n, chunk in zip((5, 4, 2), chunks))
    before = {name: b.clone() for name, b in p.model.named_buffers()}
    assert error(f.full().value_and_grad()[1], expected) < TOLERANCE
    assert all(torch.equal(b, before[name]) for name, b in p.model.named_buffers())
    f.full()()
    assert p.model.get_buffer("1.num_batches_tracked") == before["1.num_batches_tracked"] + 3


def test_complex_step(device):
    p, f, everything = make("mlp_tanh", "cross_entropy", 0.3, device)
    v, h = noise(p.theta.shape, 9).to(p.theta), 1e-20
    slope = f.full().loss(p.theta + 1j * h * v).imag / h
    assert error(slope, Dense(p, None, everything).gradient @ v) < 1e-12


def test_full_follows_the_parameters(device):
    p, f, everything = make("mlp_tanh", "cross_entropy", 0.3, device)
    F = f.full()
    H = F.hessian()
    F.space.assign_(p.elsewhere())
    expected = Dense(p, None, everything)
    assert error(F.value_and_grad()[1], expected.gradient) < TOLERANCE
    assert error(H.dense(), expected.hessian) < TOLERANCE


def test_sampled_labels_of_the_whole_set(device):
    p, f, (inputs, targets) = make("mlp_tanh", "cross_entropy", device=device, streams=Streams(0, device).at(3))
    S = f.full().sampled()
    assert len(S) == 11 and torch.equal(torch.cat([x for x, _ in S._chunks]), inputs)
    labels = torch.cat([y for _, y in S._chunks])
    assert labels.shape == targets.shape and labels.dtype == torch.int64
    assert error(S.value_and_grad()[1], Dense(p, None, (inputs, labels)).gradient) < TOLERANCE


@pytest.mark.parametrize("model", ["mlp_tanh", "batchnorm"])
def test_fresh_is_another_batch_with_the_same_oracles_and_meter(model, device):
    p, f, (inputs, _) = make(model, "cross_entropy", 0.3, device, streams=Streams(0, device).at(3))
    fresh, other = f.independent_batch(), f.independent_batch()
    assert len(fresh) == len(f) and fresh.cost is f.cost and fresh.space is f.space
    assert not torch.equal(fresh.batch.inputs, other.batch.inputs)
    for x in fresh.batch.inputs:
        assert (inputs == x).all(1).any()
    expected = Dense(p, None, tuple(fresh.batch))
    assert error(fresh.value_and_grad()[1], expected.gradient) < TOLERANCE
    assert error(fresh.hessian() @ p.theta, expected.hessian @ p.theta) < TOLERANCE
    assert error(fresh.full().loss(), f.full().loss()) == 0
    assert len(f.full().independent_batch()) == 11 and len(f.full().full()) == 11


@pytest.mark.parametrize("oracle", ["independent_batch", "full"])
def test_without_a_training_set(oracle):
    p = problem("mlp_tanh", "cross_entropy")
    with pytest.raises(Unsupported, match="need a training set"):
        getattr(Objective(p.model, p.loss, p.batch), oracle)()


def test_record_is_for_one_batch():
    _, f, _ = make("mlp_tanh", "cross_entropy")
    with pytest.raises(Unsupported, match="record"):
        f.full().record()
