"""Tests of rows of sample gradients and of the two halves of a backward pass against Jacobians by autograd."""

import pytest
import torch
from objectives import make
from problems import LOSSES, MODELS, Dense, error, noise

from sobench.errors import UsageError
from sobench.objective.layers.rows import LayerRows

LAYERED = [name for name in MODELS if name not in ("tied", "dropout", "scaled", "partial") and "batchnorm" not in name]
MODEL = pytest.mark.parametrize("model", LAYERED)


def output_rows(f):
    """LayerRows of the outputs' Jacobian times a root, of samples 4, 0 and 3, and of every sample's own gradient."""
    with f.record() as layers:
        f.propagate()
        roots = f.propagate_roots()
    index = torch.tensor([4, 0, 3], device=f.batch.inputs.device)
    roots = {name: h[:, index].transpose(0, 1) for name, h in roots.items()}
    grads = {name: len(f) * layers[name].output_grads[:, None] for name in f.matrices.names}
    return LayerRows(f.matrices, layers, roots, index), LayerRows(f.matrices, layers, grads), index, layers


def dense_rows(p, index):
    """(R_n^T J_n)_c, rows sample by sample, [3 C, P]."""
    J, z = Dense(p).jacobian[index], Dense(p).outputs.detach()[index]
    R = p.loss.hessian_root(z, p.batch[1][index])
    return torch.einsum("ncd,ncp->ndp", R, J).flatten(0, 1)


@MODEL
@pytest.mark.parametrize("loss", LOSSES)
def test_rows_are_sample_major(model, loss, device):
    p, f = make(model, loss, device)
    U, V, index, _ = output_rows(f)
    expected = dense_rows(p, index)
    assert error(sum(U.gram()), expected @ expected.T) < 1e-12
    v = noise((expected.shape[1],), 3).to(device)
    assert error(sum(U @ v), expected @ v) < 1e-12
    assert error(sum(U.against_gradient()), expected @ Dense(p).gradient.detach()) < 1e-12
    class_major = expected.view(3, -1, expected.shape[1]).transpose(0, 1).flatten(0, 1)
    assert error(class_major @ class_major.T, expected @ expected.T) > 1e-3
    own = Dense(p).per_sample
    assert error(sum(V.gram()), own @ own.T) < 1e-12


@MODEL
def test_the_gram_matrix_of_a_layer_is_of_its_own_columns(model, device):
    p, f = make(model, device=device)
    U, _, index, _ = output_rows(f)
    parts = f.space.named(dense_rows(p, index))
    for name, G in zip(f.matrices.names, U.gram()):
        own = torch.cat([part.flatten(1) for key, part in parts.items() if key.rpartition(".")[0] == name], 1)
        assert error(G, own @ own.T) < 1e-12


@MODEL
def test_the_gradient_less_a_combination_of_rows(model, device):
    p, f = make(model, device=device)
    U, _, index, layers = output_rows(f)
    rows = dense_rows(p, index)
    d = noise((len(rows),), 4).to(device)
    out = f.accumulate(layers, U.subtracted(d[None]), torch.zeros_like(p.theta))
    assert error(out, Dense(p).gradient.detach() - rows.T @ d) < 1e-12


# A backward pass in two halves


@pytest.mark.parametrize("l2", [0.0, 0.3])
@pytest.mark.parametrize("model", [*LAYERED, "batchnorm", "batchnorm_eval", "batchnorm_conv", "partial"])
def test_propagate_then_accumulate_is_the_gradient(model, l2, device):
    """The penalty is in the value, and in no gradient."""
    p, f = make(model, device=device, l2=l2)
    out = torch.full_like(p.theta, 7.0)
    with f.record() as layers:
        value = f.propagate(rest=out)
    grads = {name: layers[name].output_grads for name in f.matrices.names}
    result = f.accumulate(layers, {name: h for name, h in grads.items() if h is not None}, out)
    assert result is out and error(out, Dense(p).gradient.detach() - l2 * p.theta) < 1e-12
    assert error(value, Dense(p).value) < 1e-12
    assert all(q.grad is None for q in p.model.parameters())


def test_propagate_roots_outside_a_record(device):
    _, f = make(device=device)
    with pytest.raises(UsageError, match=r"propagate_roots\(\) .* call it inside `with f\.record\(\) as layers:`"):
        f.propagate_roots()


def test_roots_leave_the_recorded_gradients_alone(device):
    _, f = make(device=device)
    with f.record() as layers:
        f.propagate()
        before = [layer.output_grads.clone() for layer in layers.values()]
        f.propagate_roots()
    assert all(layer.output_grads.equal(kept) for layer, kept in zip(layers.values(), before))
