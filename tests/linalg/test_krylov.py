"""Tests of conjugate gradients: finite termination, optimality in the Krylov space, stopping rules and results."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sobench.errors import UsageError
from sobench.linalg import LinearOperator, cg, cgls

EYE = torch.eye(3, dtype=torch.float64)


def with_eigenvalues(eigenvalues, seed=0):
    """A symmetric matrix with these eigenvalues in a random orthonormal basis, a right-hand side, and the generator."""
    generator = torch.Generator().manual_seed(seed)
    n = len(eigenvalues)
    Q, _ = torch.linalg.qr(torch.randn(n, n, generator=generator, dtype=torch.float64))
    A = Q @ torch.diag(torch.as_tensor(eigenvalues, dtype=torch.float64)) @ Q.T
    return (A + A.T) / 2, torch.randn(n, generator=generator, dtype=torch.float64)


class Counted:
    """A matrix that counts its products."""

    def __init__(self, matrix):
        self.matrix, self.products = matrix, 0

    def __matmul__(self, v):
        self.products += 1
        return self.matrix @ v


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31), eigenvalues=st.lists(st.floats(0.5, 5.0), min_size=1, max_size=9))
def test_is_exact_in_n_steps(seed, eigenvalues):
    A, b = with_eigenvalues(eigenvalues, seed)
    result = cg(A, b, max_iterations=len(b), tol=1e-9)
    assert result.status == "converged" and result.iterations <= len(b)
    torch.testing.assert_close(result.x, torch.linalg.solve(A, b), rtol=0, atol=1e-7 * float(b.norm()))


def test_needs_as_many_steps_as_there_are_distinct_eigenvalues():
    A, b = with_eigenvalues([1.0] * 10 + [4.0] * 10 + [9.0] * 10)
    result = cg(A, b, max_iterations=30, tol=1e-10)
    assert (result.status, result.iterations) == ("converged", 3)


@pytest.mark.parametrize("start", [False, True], ids=["from zero", "from x0"])
def test_each_iterate_minimises_the_quadratic_over_its_krylov_space(start):
    A, b = with_eigenvalues(torch.linspace(1, 20, 8))
    x0 = torch.arange(8.0, dtype=torch.float64) if start else torch.zeros(8, dtype=torch.float64)
    for k in (1, 3, 5):
        r0 = b - A @ x0
        K, _ = torch.linalg.qr(torch.stack([torch.linalg.matrix_power(A, i) @ r0 for i in range(k)], 1))
        minimiser = x0 + K @ torch.linalg.solve(K.T @ A @ K, K.T @ r0)
        result = cg(A, b, x0 if start else None, max_iterations=k, tol=0.0)
        assert (result.status, result.iterations) == ("max_iterations", k)
        torch.testing.assert_close(result.x, minimiser, rtol=1e-8, atol=1e-9)
        assert result.residual_norm == pytest.approx(float((b - A @ result.x).norm()), rel=1e-8)


@pytest.mark.parametrize("tol", [1e-1, 1e-4, 1e-8])
def test_stops_at_the_first_residual_below_tol_times_b(tol):
    A, b = with_eigenvalues(torch.linspace(1, 50, 40))
    result = cg(A, b, max_iterations=100, tol=tol)
    before = cg(A, b, max_iterations=result.iterations - 1, tol=tol)
    assert result.status == "converged" and before.status == "max_iterations"
    assert float((b - A @ result.x).norm()) <= tol * float(b.norm()) * (1 + 1e-6)
    assert before.residual_norm > tol * float(b.norm())


def test_starts_from_x0_and_the_rule_stays_relative_to_b():
    A, b = with_eigenvalues(torch.linspace(1, 5, 6))
    solution = torch.linalg.solve(A, b)
    x0, counted = solution + 1e-4, Counted(A)
    kept = x0.clone()
    result = cg(counted, b, x0, max_iterations=20, tol=1e-2)
    assert (result.status, result.iterations, counted.products) == ("converged", 0, 1)
    assert result.x.equal(x0) and result.x is not x0
    result = cg(A, b, x0, max_iterations=20, tol=1e-12)
    torch.testing.assert_close(result.x, solution, rtol=1e-10, atol=1e-10)
    assert x0.equal(kept)


@pytest.mark.parametrize("x0", [None, torch.ones(3, dtype=torch.float64)], ids=["from zero", "from x0"])
def test_zero_right_hand_side(x0):
    result = cg(EYE, torch.zeros(3, dtype=torch.float64), x0, max_iterations=5, tol=1e-5)
    assert result.x.equal(torch.zeros(3, dtype=torch.float64))
    assert (result.status, result.iterations, result.residual_norm) == ("converged", 0, 0.0)


def test_one_product_an_iteration():
    A, b = with_eigenvalues(torch.linspace(1, 50, 40))
    counted = Counted(A)
    assert cg(counted, b, max_iterations=7, tol=0.0).iterations == counted.products == 7


@pytest.mark.parametrize("curvature", [-1.0, 0.0])
def test_first_direction_of_no_positive_curvature_gives_b(curvature):
    b = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    result = cg(curvature * EYE, b, max_iterations=5, tol=1e-5)
    assert (result.status, result.iterations) == ("negative_curvature", 0)
    assert result.x.equal(b) and result.residual_norm == pytest.approx(math.sqrt(14))


def test_later_negative_curvature_gives_the_iterate_before_it():
    A, b = torch.diag(torch.tensor([3.0, 1.0, -0.5], dtype=torch.float64)), torch.ones(3, dtype=torch.float64)
    result = cg(A, b, max_iterations=50, tol=1e-10)
    assert result.status == "negative_curvature" and result.iterations >= 1
    before = cg(A, b, max_iterations=result.iterations, tol=1e-10)
    assert before.status == "max_iterations" and result.x.equal(before.x)
    assert result.residual_norm == pytest.approx(float((b - A @ result.x).norm()), rel=1e-10)
    assert result.x @ b > 0  # ascent of b'x, so -x descends along a gradient b
    assert cg(A + EYE, b, max_iterations=50, tol=1e-10).status == "converged"


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_not_finite_is_reported_at_once(bad):
    A, b = with_eigenvalues([1.0, 2.0, 3.0])
    wrong = A.clone()
    wrong[1, 1] = bad
    results = [cg(wrong, b, max_iterations=50, tol=1e-5), cg(A, bad * b, max_iterations=50, tol=1e-5)]
    for result in results:
        assert result.status == "not_finite" and result.iterations <= 1


def test_operators_and_their_shifts():
    A, b = with_eigenvalues([-2.0, 0.0, 1.0, 4.0])
    operator = LinearOperator(lambda v: A @ v, 4, dtype=A.dtype, device=A.device) + 3.0
    result = cg(operator, b, max_iterations=4, tol=1e-12)
    expected = torch.linalg.solve(A + 3 * torch.eye(4, dtype=A.dtype), b)
    torch.testing.assert_close(result.x, expected, rtol=1e-9, atol=1e-9)


def test_single_precision_graphs_and_arguments_are_respected():
    A, b = (x.float() for x in with_eigenvalues([1.0, 2.0, 3.0]))
    kept = b.clone()
    result = cg(A.requires_grad_(), b.requires_grad_(), max_iterations=3, tol=1e-4)
    assert result.x.dtype == torch.float32 and not result.x.requires_grad and b.equal(kept)
    identity = LinearOperator(lambda v: v, 3, dtype=b.dtype, device=b.device)
    assert cg(identity, b, max_iterations=3, tol=1e-6).x.equal(kept)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"max_iterations": 0}, "max_iterations >= 1, got 0"),
        ({"tol": -1.0}, r"tol >= 0, got -1\.0"),
        ({"tol": math.nan}, "tol >= 0, got nan"),
        ({"x0": torch.ones(2)}, r"one length, got \[3\] and \[2\]"),
        ({"b": EYE}, r"one length, got \[3, 3\]"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(UsageError, match=message):
        cg(**{"A": EYE, "b": EYE[0], "max_iterations": 5, "tol": 1e-5} | arguments)


# Least squares


@pytest.mark.parametrize("eigenvalues", [[1.0, 2.0, 4.0, 5.0], [-3.0, -1.0, 2.0, 5.0], [-2.0, 0.0, 1.0, 3.0]])
def test_cgls_is_the_least_squares_solution_of_any_symmetric_matrix(eigenvalues):
    """The shortest, where there are many."""
    A, b = with_eigenvalues(eigenvalues)
    result = cgls(A, b, max_iterations=4, tol=1e-13)
    expected = torch.linalg.pinv(A, hermitian=True, rtol=1e-10) @ b
    torch.testing.assert_close(result.x, expected, rtol=0, atol=1e-10)
    assert result.residual_norm == pytest.approx(0.0, abs=1e-10)


def test_cgls_minimises_the_residual_over_its_krylov_space():
    A, b = with_eigenvalues([-5.0, -2.0, -1.0, 1.0, 3.0, 4.0])
    x0 = torch.arange(6.0, dtype=torch.float64)
    for k in (1, 2, 4):
        s = A @ (b - A @ x0)
        K, _ = torch.linalg.qr(torch.stack([torch.linalg.matrix_power(A @ A, i) @ s for i in range(k)], 1))
        minimiser = x0 + K @ torch.linalg.lstsq(A @ K, b - A @ x0).solution
        result = cgls(A, b, x0, max_iterations=k, tol=0.0)
        assert (result.status, result.iterations) == ("max_iterations", k)
        torch.testing.assert_close(result.x, minimiser, rtol=0, atol=1e-8)
        assert result.residual_norm == pytest.approx(float((A @ (b - A @ result.x)).norm()), rel=1e-8)


def test_cgls_makes_two_products_an_iteration_and_stops_by_its_rule():
    A, b = with_eigenvalues(torch.linspace(-9, 10, 20))
    counted = Counted(A)
    assert cgls(counted, b, max_iterations=7, tol=0.0).iterations == 7 and counted.products == 2 + 2 * 7
    result = cgls(A, b, max_iterations=500, tol=1e-3)
    before = cgls(A, b, max_iterations=result.iterations - 1, tol=0.0)
    assert result.status == "converged" and result.residual_norm <= 1e-3 * float((A @ b).norm()) < before.residual_norm


def test_cgls_compares_its_residual_with_that_of_zero():
    """tol ||A b||, which is a thousandth of ||b|| here and less: by tol ||b|| it would stop at once."""
    A, b = torch.diag(torch.logspace(-9, -3, 7, dtype=torch.float64)), torch.ones(7, dtype=torch.float64)
    result = cgls(A, b, max_iterations=50, tol=1e-5)
    assert (result.status, result.iterations) == ("converged", 9)
    assert result.residual_norm <= 1e-5 * float((A @ b).norm())


@pytest.mark.parametrize("b", [torch.zeros(3, dtype=torch.float64), torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)])
def test_cgls_of_what_a_does_not_reach_is_zero(b):
    A = torch.diag(torch.tensor([2.0, -1.0, 0.0], dtype=torch.float64))
    result = cgls(A, b, max_iterations=5, tol=1e-5)
    assert (result.status, result.iterations) == ("converged", 0) and not result.x.any()


def test_cgls_reports_what_is_not_finite_and_checks_its_arguments():
    assert cgls(math.nan * EYE, EYE[0], max_iterations=5, tol=1e-5).status == "not_finite"
    with pytest.raises(UsageError, match="max_iterations >= 1, got 0"):
        cgls(EYE, EYE[0], max_iterations=0, tol=1e-5)
