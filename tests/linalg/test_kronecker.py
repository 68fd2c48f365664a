"""Tests of contractions and mode products against loops and explicit Kronecker products."""

import itertools
from functools import reduce

import pytest
import torch
from problems import error, noise
from torch.utils.flop_counter import FlopCounterMode

from sobench.linalg.kronecker import BLOCK, balance, contraction, gram, matricize, mode_product, mode_products

SHAPES = pytest.mark.parametrize("shape", [(4,), (3, 2), (2, 3, 4), (2, 3, 2, 2)], ids=str)


def symmetric(n, seed):
    A = noise((n, n), seed)
    return A + A.T


@pytest.mark.parametrize("m, n", [(3, 5), (1, 4), (7, 300), (2, 256)])
@pytest.mark.parametrize("alpha, beta", [(1.0, 0.0), (0.3, 0.7)])
def test_gram(m, n, alpha, beta, device):
    X, out = noise((m, n), 1).to(device), symmetric(n, 2).to(device)
    expected = alpha * X.T @ X + beta * out
    actual = gram(X, out, alpha=alpha, beta=beta)
    assert actual is out and error(actual, expected) < 1e-13
    assert error(actual, actual.T) < 1e-14  # some libraries of matrix products round the two halves differently
    assert error(gram(X, alpha=alpha), alpha * X.T @ X) < 1e-13


def test_gram_leaves_out_the_half_above_the_diagonal():
    m, n = 8, 4 * BLOCK
    with FlopCounterMode(display=False) as counter:
        gram(torch.ones(m, n), torch.ones(n, n), alpha=0.5, beta=0.5)
    assert counter.get_total_flops() == 2 * m * n * n * (1 + BLOCK / n) / 2


@pytest.mark.parametrize("n", [5, 300])
def test_gram_forgets_what_was_there_when_told_to(n, device):
    X = noise((3, n), 1).to(device)
    assert error(gram(X, torch.full((n, n), torch.nan).to(X)), X.T @ X) < 1e-13


@SHAPES
def test_matricize_and_contraction_by_loops(shape, device):
    G = noise(shape, 1).to(device)
    for mode, size in enumerate(shape):
        rows = [G.select(mode, j).flatten() for j in range(size)]
        assert torch.equal(matricize(G, mode), torch.stack(rows))
        expected = torch.stack([torch.stack([a @ b for b in rows]) for a in rows])
        assert error(contraction(G, mode), expected) < 1e-13
        before = symmetric(size, 2).to(device)
        assert error(contraction(G, mode, before.clone(), alpha=0.1, beta=0.9), 0.1 * expected + 0.9 * before) < 1e-13


@SHAPES
def test_a_mode_product_by_its_definition(shape, device):
    G = noise(shape, 1)
    for mode, size in enumerate(shape):
        U, expected = symmetric(size, 2), torch.zeros(shape, dtype=G.dtype)
        for index in itertools.product(*map(range, shape)):
            for j in range(size):
                other = (*index[:mode], j, *index[mode + 1 :])
                expected[index] += U[index[mode], j] * G[other]
        assert error(mode_product(G.to(device), U.to(device), mode), expected.to(device)) < 1e-13


class Operator:
    """What multiplies a matrix from the left, and is no tensor."""

    def __init__(self, U):
        self.U = U

    def __matmul__(self, X):
        return self.U @ X


@SHAPES
@pytest.mark.parametrize("wrap", [lambda U: U, Operator], ids=["matrix", "operator"])
def test_mode_products_are_the_kronecker_product(shape, wrap, device):
    """Proposition 1, equation 4.3."""
    G, U = noise(shape, 1).to(device), [symmetric(n, seed).to(device) for seed, n in enumerate(shape)]
    expected = (reduce(torch.kron, U) @ G.flatten()).view(shape)
    assert error(mode_products(G, [wrap(u) for u in U]), expected) < 1e-13


def test_balance_is_the_ratio_of_kronecker_traces(device):
    A, G = symmetric(3, 1).to(device) ** 2, symmetric(4, 2).to(device) ** 2
    eye = [torch.eye(len(M)).to(M) for M in (A, G)]
    expected = (torch.kron(A, eye[1]).trace() / torch.kron(eye[0], G).trace()).sqrt()
    pi = balance((A.trace(), G.trace()), (3, 4))
    assert error(pi, expected) < 1e-14


@pytest.mark.parametrize("traces", [(0.0, 1.0), (1.0, 0.0), (0.0, 0.0)])
def test_balance_of_a_dead_layer_is_one(traces):
    assert balance([torch.tensor(t) for t in traces], (3, 4)) == 1
