"""Tests of kernel matrices against their definitions, and of the pseudo-inverse against its four axioms."""

from __future__ import annotations

import pytest
import torch

from sobench.linalg.kernels import KERNELS, features, pseudo_inverse


@pytest.fixture
def X() -> torch.Tensor:
    return torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    "name, k",
    [
        ("rbf", lambda x, y: torch.exp(-0.3 * (x - y).square().sum())),
        ("linear", lambda x, y: x @ y),
        ("polynomial", lambda x, y: (0.3 * (x @ y) + 1) ** 3),
    ],
)
def test_entries_are_the_kernel_of_pairs(name, k, X):
    expected = torch.stack([torch.stack([k(x, y) for y in X]) for x in X])
    torch.testing.assert_close(KERNELS[name](X, 0.3, 3), expected, rtol=1e-12, atol=1e-13)


def test_equal_samples_are_at_no_distance():
    X = torch.full((3, 7), 0.1, dtype=torch.float64)
    assert torch.equal(KERNELS["rbf"](X, 1e4, 1), torch.ones(3, 3, dtype=torch.float64))


def test_token_ids_become_bags_of_words():
    ids = torch.tensor([[3, 1, 3, 0], [0, 2, 1, 1]])
    bags = features(ids)
    assert bags.tolist() == [[1, 0, 2], [2, 1, 0]]
    assert torch.equal(features(ids[:, [2, 0, 3, 1]]), bags), "the order of words does not matter"


def test_images_are_flattened():
    assert features(torch.zeros(2, 3, 4, 4)).shape == (2, 48)


def test_inverse_of_full_rank(X):
    K = KERNELS["rbf"](X, 0.3, 1)
    inverse, rank = pseudo_inverse(K)
    assert rank == 5
    torch.testing.assert_close(inverse @ K, torch.eye(5, dtype=torch.float64), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["linear", "rbf"])
def test_pseudo_inverse_of_a_singular_matrix(name, X):
    """A repeated row; the linear kernel of five samples of three numbers has rank three besides."""
    K = KERNELS[name](torch.cat([X, X[:1]]), 0.3, 1)
    P, rank = pseudo_inverse(K)
    assert rank == (3 if name == "linear" else 5)
    for actual, expected in ((K @ P @ K, K), (P @ K @ P, P), ((K @ P).T, K @ P), ((P @ K).T, P @ K)):
        torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-10)


def test_pseudo_inverse_of_zero_is_zero():
    P, rank = pseudo_inverse(torch.zeros(3, 3, dtype=torch.float64))
    assert rank == 0 and not P.any()
