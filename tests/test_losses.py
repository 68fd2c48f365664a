"""Tests of losses against their definitions, of their curvature against torch.func.hessian, and of their samples."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare, kstest
from torch.func import hessian, vmap

from sobench.errors import Unsupported, UsageError
from sobench.losses import BinaryCrossEntropy, CrossEntropy, Loss, SequenceCrossEntropy, SquaredError, SquaredHinge

V = 3  # symbols at each position of a sequence
ALL = [CrossEntropy(), BinaryCrossEntropy(), SquaredError(), SquaredHinge(), SequenceCrossEntropy(symbols=V)]
LABELLED = [ALL[0], ALL[3]]
SEQUENCES = [ALL[4]]
N, C = 6, 4


def name(loss):
    return type(loss).__name__


def outputs_and_targets(loss, seed=0, scale=3.0, n=N, c=C):
    """Of c outputs; of a sequence c positions of V symbols each."""
    generator = torch.Generator().manual_seed(seed)
    z = scale * torch.randn(n, c * V if loss in SEQUENCES else c, generator=generator, dtype=torch.float64)
    if loss in SEQUENCES:
        return z, torch.randint(V, (n, c), generator=generator)
    if loss in LABELLED:
        return z, torch.randint(c, (n,), generator=generator)
    return z, torch.rand(n, c, generator=generator, dtype=torch.float64)


def by_definition(loss, z, t):
    """The loss of one sample in plain floats, by its formula."""
    z = z.tolist()
    match name(loss):
        case "CrossEntropy":
            return -math.log(math.exp(z[t]) / sum(math.exp(c) for c in z))
        case "SequenceCrossEntropy":
            parts = [z[s * V : (s + 1) * V] for s in range(len(t))]
            return -sum(math.log(math.exp(part[y]) / sum(map(math.exp, part))) for part, y in zip(parts, t.tolist()))
        case "BinaryCrossEntropy":
            p, q = [1 / (1 + math.exp(-c)) for c in z], [1 / (1 + math.exp(c)) for c in z]
            return -sum(y * math.log(p[i]) + (1 - y) * math.log(q[i]) for i, y in enumerate(t.tolist()))
        case "SquaredError":
            return 0.5 * sum((c - y) ** 2 for c, y in zip(z, t.tolist()))
        case "SquaredHinge":
            return sum(max(0.0, 1 - (1 if i == t else -1) * c) ** 2 for i, c in enumerate(z))


@pytest.mark.parametrize("loss", ALL, ids=name)
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), scale=st.floats(0.01, 8.0))
def test_is_the_batch_mean_of_its_definition(loss, seed, scale):
    z, t = outputs_and_targets(loss, seed, scale)
    expected = sum(by_definition(loss, z[n], t[n]) for n in range(N)) / N
    assert loss(z, t).item() == pytest.approx(expected, rel=1e-10, abs=1e-12)


@pytest.mark.parametrize("loss", ALL, ids=name)
def test_hessian_is_each_samples_own(loss):
    z, t = outputs_and_targets(loss)
    dense = vmap(hessian(lambda z, t: loss(z[None], t[None])))(z, t)
    torch.testing.assert_close(loss.hessian(z, t), dense, rtol=1e-12, atol=1e-14)
    assert dense.abs().amax() > 0.1


@pytest.mark.parametrize("loss", ALL, ids=name)
@pytest.mark.parametrize("c", [1, 2, C])
def test_hessian_root(loss, c):
    """Its own, and the one that a loss without one has: H = R R^T also where H is singular."""
    z, t = outputs_and_targets(loss, c=c)
    for root in (loss.hessian_root(z, t), Loss.hessian_root(loss, z, t)):
        torch.testing.assert_close(root @ root.mT, loss.hessian(z, t), rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("loss", ALL, ids=name)
@pytest.mark.parametrize("leading", [(), (3,), (2, 3)], ids=str)
def test_hessian_product(loss, leading):
    z, t = outputs_and_targets(loss)
    v = torch.randn(*leading, *z.shape, dtype=torch.float64)
    expected = torch.einsum("ncd,...nd->...nc", loss.hessian(z, t), v)
    torch.testing.assert_close(loss.hessian_product(z, t, v), expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("loss", ALL, ids=name)
@pytest.mark.parametrize("scale", [1.0, 300.0])
def test_complex_step_is_the_directional_derivative(loss, scale):
    z, t = outputs_and_targets(loss, scale=scale)
    v = torch.randn_like(z)
    step = loss(z + 1e-20j * v, t)
    expected = (torch.func.grad(loss)(z, t) * v).sum()
    assert (step.imag / 1e-20 - expected).abs() <= 1e-12 * expected.abs().clamp(min=1)
    assert (step.real - loss(z, t)).abs() <= 1e-12 * step.real


@pytest.mark.parametrize("loss", ALL, ids=name)
def test_complex_gradient_extends_the_real_one(loss):
    z, t = outputs_and_targets(loss, scale=40.0)
    at = z.to(torch.complex128).requires_grad_()
    (gradient,) = torch.autograd.grad(loss(at, t).real, at)
    expected = torch.func.grad(loss)(z, t).to(torch.complex128)
    torch.testing.assert_close(gradient.conj(), expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("loss", ALL, ids=name)
def test_stays_finite_where_the_exponential_is_not(loss):
    for sign in (1, -1):
        z, t = outputs_and_targets(loss)
        z[:, 0] = sign * 2000.0
        for value in (loss(z, t), loss(z + 0j, t).real, loss.hessian(z, t)):
            assert value.isfinite().all()


@pytest.mark.parametrize("loss", ALL, ids=name)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_complex_step_survives_underflow(loss, dtype):
    z, t = outputs_and_targets(loss, n=2001)
    z = (z + torch.linspace(-900, 900, 2001, dtype=torch.float64)[:, None]).to(dtype)
    step = loss(z + 1e-20j, t).imag / 1e-20
    torch.testing.assert_close(step, torch.func.grad(loss)(z, t).sum(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("loss", ALL, ids=name)
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128], ids=str)
def test_nan_is_not_hidden(loss, dtype):
    z, t = outputs_and_targets(loss)
    z[1, 2] = torch.nan
    assert loss(z.to(dtype), t).isnan()


@pytest.mark.parametrize("loss", ALL, ids=name)
def test_keeps_single_precision(loss):
    z, t = outputs_and_targets(loss)
    single, v = z.float(), torch.ones(z.shape)
    for value in (loss(single, t), loss.hessian(single, t), loss.hessian_product(single, t, v)):
        assert value.dtype == torch.float32
    assert loss(single + 0j, t).dtype == torch.complex64


# Samples


def test_labels_follow_the_softmax():
    z, draws = torch.tensor([1.0, -0.5, 0.3, 2.0, -3.0], dtype=torch.float64), 20_000
    t = CrossEntropy().sample(z.expand(draws, -1), generator=torch.Generator().manual_seed(0))
    counts = t.bincount(minlength=5).numpy()
    assert t.shape == (draws,) and t.dtype == torch.int64
    assert chisquare(counts, draws * z.softmax(0).numpy()).pvalue > 1e-3
    assert chisquare(counts, draws * (1.1 * z).softmax(0).numpy()).pvalue < 1e-3


def test_bits_follow_the_sigmoid_and_are_independent():
    z, draws = torch.tensor([1.0, -2.0], dtype=torch.float64), 20_000
    t = BinaryCrossEntropy().sample(z.expand(draws, -1), generator=torch.Generator().manual_seed(0))
    p, q = z.sigmoid().tolist()
    joint = (2 * t[:, 0] + t[:, 1]).long().bincount(minlength=4).numpy()
    assert t.shape == (draws, 2) and t.dtype == z.dtype
    assert chisquare(joint, [draws * f for f in ((1 - p) * (1 - q), (1 - p) * q, p * (1 - q), p * q)]).pvalue > 1e-3


def test_values_are_normal_around_the_outputs():
    z = torch.tensor([-1.0, 5.0], dtype=torch.float64).expand(10_000, -1)
    noise = SquaredError().sample(z, generator=torch.Generator().manual_seed(0)) - z
    assert kstest(noise.flatten().numpy(), "norm").pvalue > 1e-3
    assert abs((noise[:, 0] * noise[:, 1]).mean()) < 0.05


def test_squared_hinge_has_no_distribution():
    with pytest.raises(Unsupported, match="no predictive distribution"):
        SquaredHinge().sample(torch.zeros(N, C))


@pytest.mark.parametrize("loss", ALL, ids=name)
def test_samples_says_whether_sample_works_and_samples_are_targets(loss):
    assert loss.samples == (name(loss) != "SquaredHinge")
    if loss.samples:
        z = outputs_and_targets(loss)[0].requires_grad_()
        t, again = (loss.sample(z, generator=torch.Generator().manual_seed(3)) for _ in range(2))
        assert not t.requires_grad and t.equal(again)
        assert loss(z, t).isfinite()


def test_a_sequence_has_independent_labels_by_position():
    z, draws = torch.tensor([1.0, -0.5, 0.3, 2.0, -3.0, 0.0], dtype=torch.float64), 20_000
    t = SequenceCrossEntropy(symbols=V).sample(z.expand(draws, -1), generator=torch.Generator().manual_seed(0))
    joint = (V * t[:, 0] + t[:, 1]).bincount(minlength=V * V).numpy()
    first, second = z[:V].softmax(0), z[V:].softmax(0)
    assert t.shape == (draws, 2) and t.dtype == torch.int64
    assert chisquare(joint, draws * torch.outer(first, second).flatten().numpy()).pvalue > 1e-3


def test_the_fisher_matrix_of_a_sequence_is_its_hessian():
    """E[Dl Dl'] over every sequence of labels, with its probability."""
    (loss,) = SEQUENCES
    z = outputs_and_targets(loss, c=2, n=1)[0]
    every = torch.cartesian_prod(torch.arange(V), torch.arange(V))
    at = z.expand(V * V, -1)
    gradients = vmap(torch.func.grad(lambda z, t: loss(z[None], t[None])))(at, every)
    p = z.view(2, V).softmax(1)
    weights = p[0, every[:, 0]] * p[1, every[:, 1]]
    fisher = torch.einsum("k,ki,kj->ij", weights, gradients, gradients)
    torch.testing.assert_close(fisher, loss.hessian(z, every[:1])[0], rtol=1e-12, atol=1e-14)


def test_a_sequence_needs_the_number_of_symbols():
    z, t = outputs_and_targets(SEQUENCES[0])
    with pytest.raises(UsageError, match=r"no number of symbols; allowed: SequenceCrossEntropy\(symbols=V\)"):
        SequenceCrossEntropy()(z, t)
    with pytest.raises(UsageError, match=r"takes outputs \[N, T V\] with V = 5, got outputs \[6, 12\]"):
        SequenceCrossEntropy(symbols=5).sample(z)


# Wrong targets


@pytest.mark.parametrize("loss", LABELLED + SEQUENCES, ids=name)
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128], ids=str)
@pytest.mark.parametrize("label", [-100, -1, C])
def test_label_out_of_range(loss, dtype, label):
    z, t = outputs_and_targets(loss)
    t[2] = label
    which, count = ("CrossEntropy", V) if loss in SEQUENCES else (name(loss), C)
    with pytest.raises(UsageError, match=rf"^{which} of {count} outputs takes labels in 0\.\.{count - 1}"):
        loss(z.to(dtype), t)


@pytest.mark.parametrize("loss", ALL, ids=name)
def test_targets_of_a_wrong_shape_or_type(loss):
    z, t = outputs_and_targets(loss)
    wrong = [t[:-1], t[..., None], t.to(torch.complex64)]
    integers = loss in LABELLED + SEQUENCES
    wrong += [t.double(), t.bool(), torch.zeros(N, C)] if integers else [torch.zeros(N, dtype=torch.int64)]
    for targets in wrong:
        with pytest.raises(UsageError, match=rf"{name(loss)} takes outputs \[N, C\] and .* targets \["):
            loss(z, targets)
    with pytest.raises(UsageError, match=rf"got outputs \[6, {z.shape[1]}, 1\]"):
        loss(z[..., None], t)


@pytest.mark.parametrize("loss", ALL, ids=name)
def test_targets_of_another_width_are_converted(loss):
    z, t = outputs_and_targets(loss)
    narrow = t.to(torch.float32 if t.is_floating_point() else torch.uint8)
    assert loss(z, narrow).dtype == torch.float64
    torch.testing.assert_close(loss(z, narrow), loss(z, t), rtol=1e-6, atol=1e-6)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("loss", ALL, ids=name)
def test_never_waits_for_the_device(loss):
    z, t = (x.cuda() for x in outputs_and_targets(loss))
    v, at = torch.ones_like(z), z + 0j
    torch.cuda.set_sync_debug_mode("error")
    try:
        loss(z, t), loss(at, t), loss.hessian(z, t), loss.hessian_product(z, t, v)
        if loss.samples:
            loss.sample(z)
    finally:
        torch.cuda.set_sync_debug_mode("default")
