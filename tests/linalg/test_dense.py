"""Tests of solve_symmetric on matrices with each outcome, and of x against torch.linalg.pinv."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from sobench.errors import Failure, UsageError
from sobench.linalg import solve_symmetric
from sobench.linalg.dense import spd_inverse, spd_solve

BOTH = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)


def with_eigenvalues(eigenvalues, seed=0, dtype=torch.float64):
    """A symmetric matrix with these eigenvalues in a random orthonormal basis, and a right-hand side."""
    generator = torch.Generator().manual_seed(seed)
    n = len(eigenvalues)
    Q, _ = torch.linalg.qr(torch.randn(n, n, generator=generator, dtype=torch.float64))
    A = Q @ torch.diag(torch.as_tensor(eigenvalues, dtype=torch.float64)) @ Q.T
    return ((A + A.T) / 2).to(dtype), torch.randn(n, generator=generator, dtype=torch.float64).to(dtype)


def with_dead_rows(A, b, dead):
    """A and b with a zero row and column, and a right-hand side of 7, put in at each index of `dead`."""
    n = len(b) + len(dead)
    alive = torch.tensor([i for i in range(n) if i not in dead])
    larger, right = torch.zeros(n, n, dtype=A.dtype), torch.full((n,), 7.0, dtype=A.dtype)
    larger[alive[:, None], alive] = A
    right[alive] = b
    return larger, right, alive


signed = st.floats(0.3, 5.0).flatmap(lambda x: st.sampled_from([x, -x]))


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**31), eigenvalues=st.lists(signed | st.just(0.0), min_size=1, max_size=8))
def test_outcome_rank_and_solution_follow_from_the_eigenvalues(seed, eigenvalues):
    A, b = with_eigenvalues(eigenvalues, seed)
    kept, solution = A.clone(), solve_symmetric(A, b)
    rank = sum(x != 0 for x in eigenvalues)
    negative = any(x < 0 for x in eigenvalues)
    assert solution.outcome == ("singular" if rank < len(b) else "indefinite" if negative else "definite")
    assert solution.rank == rank and A.equal(kept)
    assert_close(solution.x, torch.linalg.pinv(A, hermitian=True) @ b, rtol=1e-8, atol=1e-8)


@BOTH
def test_definite_needs_no_eigendecomposition(dtype, monkeypatch):
    monkeypatch.setattr(torch.linalg, "eigh", lambda A: pytest.fail("eigh was called"))
    A, b = with_eigenvalues(torch.logspace(-2, 1, 30), dtype=dtype)
    solution = solve_symmetric(A, b)
    assert (solution.outcome, solution.rank) == ("definite", 30) and solution.x.dtype == dtype
    assert_close(A @ solution.x, b, rtol=1e-3, atol=1e-4)


def test_a_badly_scaled_but_well_determined_matrix_is_definite():
    A = torch.diag(torch.tensor([1e-4, 1.0, 1e2]))
    solution = solve_symmetric(A, torch.ones(3))
    assert solution.outcome == "definite"
    assert_close(solution.x, torch.tensor([1e4, 1.0, 1e-2]))


@BOTH
def test_indefinite(dtype):
    A, b = with_eigenvalues([-3.0, -0.5, 1.0, 2.0, 6.0], dtype=dtype)
    solution = solve_symmetric(A, b)
    assert (solution.outcome, solution.rank) == ("indefinite", 5)
    assert_close(A @ solution.x, b, rtol=1e-4, atol=1e-5)


@BOTH
def test_dead_rows_are_dropped_without_an_eigendecomposition(dtype, monkeypatch):
    monkeypatch.setattr(torch.linalg, "eigh", lambda A: pytest.fail("eigh was called"))
    A, b = with_eigenvalues([1.0, 2.0, 3.0], dtype=dtype)
    larger, right, alive = with_dead_rows(A, b, {0, 2, 5})
    solution = solve_symmetric(larger, right)
    assert (solution.outcome, solution.rank) == ("singular", 3)
    assert solution.x[[0, 2, 5]].equal(torch.zeros(3, dtype=dtype))
    assert_close(solution.x, torch.linalg.pinv(larger, hermitian=True) @ right)
    assert solution.x[alive].equal(solve_symmetric(A, b).x)


@pytest.mark.parametrize(("eigenvalues", "rank"), [([-1.0, 2.0, 3.0], 3), ([0.0, 2.0, -3.0], 2)], ids=str)
def test_dead_rows_around_a_matrix_that_is_not_definite(eigenvalues, rank):
    larger, right, _ = with_dead_rows(*with_eigenvalues(eigenvalues), {1, 3})
    solution = solve_symmetric(larger, right)
    assert (solution.outcome, solution.rank) == ("singular", rank)
    assert_close(solution.x, torch.linalg.pinv(larger, hermitian=True) @ right, rtol=1e-10, atol=1e-10)


def test_a_zero_on_the_diagonal_is_not_a_dead_row():
    A, b = torch.tensor([[0.0, 2.0], [2.0, 0.0]]), torch.tensor([2.0, 6.0])
    solution = solve_symmetric(A, b)
    assert solution.outcome == "indefinite"
    assert_close(solution.x, torch.tensor([3.0, 1.0]))


@BOTH
@pytest.mark.parametrize("n", [3, 10, 60])
def test_a_gram_matrix_of_too_few_vectors_is_singular_whatever_rounding_does(dtype, n):
    factored = 0
    for seed in range(25):
        generator = torch.Generator().manual_seed(seed)
        X = torch.randn(n, n - 1, generator=generator, dtype=dtype)
        A, b = X @ X.T, torch.randn(n, generator=generator, dtype=dtype)
        factored += int(torch.linalg.cholesky_ex(A).info == 0)
        solution = solve_symmetric(A, b)
        assert solution.outcome == "singular" and solution.rank < n
        null = torch.linalg.qr(X, mode="complete").Q[:, -1]
        assert abs(solution.x @ null) <= 0.1 * solution.x.norm()  # where Cholesky's x is almost parallel to it
    assert factored > 0  # Cholesky alone would have called some of them definite


def test_the_minimum_norm_solution_is_the_shortest_of_the_least_squares_solutions():
    A, b = with_eigenvalues([0.0, 0.0, 1.5, -2.0, 4.0])
    x, (values, Q) = solve_symmetric(A, b).x, torch.linalg.eigh(A)
    null = Q[:, values.abs() < 1e-10]
    assert null.shape[1] == 2
    assert_close(null.T @ x, torch.zeros(2, dtype=A.dtype), rtol=0, atol=1e-12)
    assert_close(b - A @ x, null @ (null.T @ b), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("n", [0, 1, 4])
def test_zero_matrices_and_right_hand_sides(n):
    zero, b = torch.zeros(n, n), torch.ones(n)
    solution = solve_symmetric(zero, b)
    assert solution.x.equal(torch.zeros(n)) and solution.rank == 0
    assert solution.outcome == ("singular" if n else "definite")
    assert solve_symmetric(torch.eye(n), torch.zeros(n)).x.equal(torch.zeros(n))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("where", ["diagonal", "off the diagonal", "b", "b of a dead row"])
@pytest.mark.parametrize("eigenvalues", [[1.0, 2.0, 3.0], [-1.0, 2.0, 3.0]], ids=["definite", "indefinite"])
def test_not_finite(bad, where, eigenvalues):
    A, b = with_eigenvalues(eigenvalues)
    match where:
        case "diagonal":
            A[0, 0] = bad
        case "off the diagonal":
            A[2, 1] = A[1, 2] = bad
        case "b":
            b[1] = bad
        case "b of a dead row":
            A, b, _ = with_dead_rows(A, b, {1})
            b[1] = bad
    solution = solve_symmetric(A, b)
    assert (solution.outcome, solution.rank) == ("not_finite", None) and solution.x.isnan().all()


def test_an_infinity_is_not_hidden_by_a_zero_right_hand_side():
    assert solve_symmetric(torch.diag(torch.tensor([math.inf, 1.0])), torch.zeros(2)).outcome == "not_finite"


def test_a_solution_that_overflows_is_not_finite():
    for A in (torch.eye(2) * 1e-30, torch.diag(torch.tensor([-1e-30, 1e-30]))):
        assert solve_symmetric(A, torch.full((2,), 1e20)).outcome == "not_finite"


def test_no_convergence_is_a_failure(monkeypatch):
    def eigh(A):
        raise torch.linalg.LinAlgError("linalg.eigh: failed to converge")

    monkeypatch.setattr(torch.linalg, "eigh", eigh)
    with pytest.raises(Failure, match="2 x 2 matrix did not converge"):
        solve_symmetric(-torch.eye(2), torch.ones(2))


def test_carries_no_graph():
    A, b = with_eigenvalues([1.0, 2.0])
    assert not solve_symmetric(A.requires_grad_(), b.requires_grad_()).x.requires_grad


@pytest.mark.parametrize(("A", "b"), [((2, 3), (2,)), ((3,), (3,)), ((3, 3), (2,)), ((3, 3), (3, 1))], ids=str)
def test_shapes_that_do_not_fit(A, b):
    with pytest.raises(UsageError, match=r"takes A \[n, n\] and b \[n\], got"):
        solve_symmetric(torch.ones(A), torch.ones(b))


# (A + shift I)^-1 of a positive definite matrix


@BOTH
@pytest.mark.parametrize(
    "eigenvalues, shift", [([0.5, 1.0, 4.0], 0.0), ([0.0, 0.0, 3.0], 0.5), ([-0.4, 0.2, 1.0], torch.tensor(0.9))]
)
def test_the_inverse_and_the_solution_of_a_positive_definite_matrix(eigenvalues, shift, dtype):
    A, b = with_eigenvalues(eigenvalues, dtype=dtype)
    kept, expected = A.clone(), torch.linalg.inv(A + shift * torch.eye(3, dtype=dtype))
    rtol = 1e-12 if dtype == torch.float64 else 1e-5
    assert_close(spd_inverse(A, shift), expected, rtol=rtol, atol=rtol)
    assert_close(spd_solve(A, b, shift), expected @ b, rtol=rtol, atol=rtol)
    assert A.equal(kept)


@pytest.mark.parametrize(
    "A",
    [
        torch.zeros(3, 3),
        torch.diag(torch.tensor([1.0, 0.0, 1.0])),
        torch.diag(torch.tensor([1.0, 2.0, -1.0])),
        torch.ones(3, 3),
        torch.diag(torch.tensor([1.0, math.nan, 1.0])),
        torch.full((3, 3), math.nan),
        torch.diag(torch.tensor([math.inf, 1.0, 1.0])) + 0.1,
    ],
    ids=["zero", "dead row", "indefinite", "singular", "nan", "all nan", "infinity"],
)
def test_what_is_not_positive_definite_is_not_a_number(A):
    assert spd_inverse(A).isnan().all() and spd_solve(A, torch.ones(3)).isnan().all()


def test_a_factor_that_leaves_no_digit_is_rejected_at_the_limit_too():
    """diag(1, eps) has a Cholesky factor, and min lambda = eps max lambda: its rank is 1."""
    eps = torch.finfo(torch.float64).eps
    solution = solve_symmetric(torch.diag(torch.tensor([1.0, eps]).double()), torch.tensor([0.0, 1.0]).double())
    assert (solution.outcome, solution.rank) == ("singular", 1) and not solution.x.any()
