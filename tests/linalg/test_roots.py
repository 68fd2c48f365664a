"""Tests of inverse roots on matrices with known eigenvalues."""

import math

import pytest
import torch
from problems import error, noise

from sobench.errors import Failure
from sobench.linalg.coupled_newton import coupled_newton
from sobench.linalg.roots import inverse_roots

METHOD = pytest.mark.parametrize("method", ["newton", "eigen", "auto"])


def known(n, eigenvalues, device="cpu"):
    """A = Q diag(eigenvalues) Q^T, and what makes its roots: p -> A^(-1/p)."""
    Q = torch.linalg.qr(noise((n, n), n))[0].to(device)
    eigenvalues = eigenvalues.to(Q)
    A = (Q * eigenvalues) @ Q.T
    return (A + A.T) / 2, lambda p: (Q * eigenvalues ** (-1 / p)) @ Q.T


def inverse_root(A, p, shift=0.0, **options):
    """Of one matrix."""
    return inverse_roots([A], [p], shift, **options).X[0]


def spread(n, condition):
    return torch.logspace(0, -math.log10(condition), n, dtype=torch.float64)


@METHOD
@pytest.mark.parametrize("p", [1, 2, 3, 4, 6, 8])
@pytest.mark.parametrize("condition", [1.0, 10.0, 1e4, 1e8])
def test_the_root_of_known_eigenvalues(p, condition, method, device):
    A, root = known(20, spread(20, condition), device)
    assert error(inverse_root(A, p, method=method), root(p)) < 1e-6


@METHOD
@pytest.mark.parametrize("p", [2, 6])
def test_large_matrices_by_halves(p, method, device):
    A, root = known(300, spread(300, 1e4), device)
    assert error(inverse_root(A, p, method=method), root(p)) < 1e-6


@METHOD
@pytest.mark.parametrize("shift", [1e-6, 1e-3, 10.0])
def test_the_shift(shift, method, device):
    eigenvalues = torch.cat([spread(7, 1e3), torch.zeros(5)])
    A, _ = known(12, eigenvalues, device)
    _, root = known(12, eigenvalues + shift, device)
    before = A.clone()
    roots = inverse_roots([A], [4], shift, method=method)
    assert error(roots.X[0], root(4)) < 1e-6 and roots.failures == 0
    assert torch.equal(A, before)


@METHOD
@pytest.mark.parametrize("scale", [1e-8, 1e8])
def test_any_scale(scale, method, device):
    A, root = known(10, scale * spread(10, 1e3), device)
    assert error(inverse_root(A, 4, method=method), root(4)) < 1e-6


@METHOD
@pytest.mark.parametrize("condition, tolerance", [(10.0, 1e-5), (1e3, 2e-4)])
def test_float32_loses_digits_with_the_condition_number(condition, tolerance, method, device):
    A, root = known(50, spread(50, condition), device)
    for p in (2, 4, 8):
        assert error(inverse_root(A.float(), p, 0.0, method=method).double(), root(p)) < tolerance


@METHOD
def test_many_at_once_are_each_its_own(method, device):
    sizes, powers = [5, 300, 5, 7, 5, 1], [4, 2, 4, 4, 2, 2]
    pairs = [known(n, 10.0**i * spread(n, 10.0 ** (i + 1)), device) for i, n in enumerate(sizes)]
    roots = inverse_roots([A for A, _ in pairs], powers, method=method)
    assert roots.failures == 0
    for X, (_, root), p in zip(roots.X, pairs, powers, strict=True):
        assert error(X, root(p)) < 1e-6


# The iteration


def norms(A):
    return [float(torch.linalg.matrix_norm(a)) for a in A]


@pytest.mark.parametrize("p", [2, 4, 6])
def test_its_tolerance_is_on_the_eigenvalues_of_what_should_be_the_identity(p):
    A, _ = known(20, spread(20, 1e3))
    for tolerance in (1e-2, 1e-6):
        X, converged = coupled_newton(A[None], p, norms(A[None]), tolerance=tolerance)
        E = torch.linalg.matrix_power(X[0], p) @ A - torch.eye(20).to(A)
        assert converged == [True] and torch.linalg.matrix_norm(E, 2) <= 1.1 * tolerance


@pytest.mark.parametrize("smallest", [1e-6, 1e-9, 1e-2, 0.0], ids=["known", "too small", "too large", "not known"])
def test_a_bound_that_is_wrong_costs_steps_alone(smallest):
    A, root = known(20, spread(20, 1e6))
    X, converged = coupled_newton(A[None], 4, norms(A[None]), smallest)
    assert converged == [True] and error(X[0], root(4)) < 1e-6


def test_scaling_saves_steps():
    """Plain steps raise 1e-6 by 2.44 each: 16 to come near 1."""
    A, root = known(20, spread(20, 1e6))
    X, converged = coupled_newton(A[None], 4, norms(A[None]), 1e-6, max_iterations=11)
    assert converged == [True] and error(X[0], root(4)) < 1e-6


def test_each_of_a_batch_converges_or_fails_by_itself(device):
    (good, root), (indefinite, _) = (known(6, torch.tensor([1, 2, 3, 4, 5, e]).double(), device) for e in (6, -0.1))
    singular = torch.diag(torch.tensor([1, 2, 3, 4, 5, 0])).to(good)
    A = torch.stack([indefinite, good, singular, torch.full_like(good, math.nan), 0 * good])
    X, converged = coupled_newton(A, 4, [float(a.norm()) for a in A])
    assert converged == [False, True, False, False, False]
    assert error(X[1], root(4)) < 1e-6


@pytest.mark.parametrize("p", [2, 4])
def test_too_few_iterations_are_not_convergence(p):
    A, _ = known(6, spread(6, 1e5))
    assert coupled_newton(A[None], p, norms(A[None]), max_iterations=3)[1] == [False]


# Failures


def test_what_the_iteration_does_not_give_the_eigenvalues_do(device):
    pairs = [known(6, spread(6, 1e5), device), known(6, torch.ones(6), device), known(4, spread(4, 1e5), device)]
    roots = inverse_roots([A for A, _ in pairs], [4, 4, 2], method="newton", max_iterations=1)
    assert roots.failures == 3
    for X, (_, root), p in zip(roots.X, pairs, [4, 4, 2]):
        assert error(X, root(p)) < 1e-10


@METHOD
def test_eigenvalues_that_rounding_makes_negative_count_as_zero(method, device):
    A, _ = known(6, torch.tensor([1, 1, 1, 1, 0.5, -1e-3]).double(), device)
    _, root = known(6, torch.tensor([1, 1, 1, 1, 0.5, 0]).double() + 1e-4, device)
    roots = inverse_roots([A], [4], 1e-4, method=method)
    assert error(roots.X[0], root(4)) < 1e-10
    assert roots.failures == (1 if method == "newton" or (method == "auto" and A.is_cuda) else 0)


@METHOD
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_not_finite_has_a_root_that_is_not(bad, method, device):
    A, root = known(6, spread(6, 10.0), device)
    B = A.clone()
    B[2, 3] = bad
    roots = inverse_roots([A, B, A], [4, 4, 4], 1e-9, method=method)
    assert roots.X[1].isnan().all()
    assert error(roots.X[0], root(4)) < 1e-6 and torch.equal(roots.X[0], roots.X[2])


def test_an_eigendecomposition_that_fails_is_repeated_in_float64(monkeypatch):
    A, root = known(6, spread(6, 10.0))
    eigh = torch.linalg.eigh

    def fragile(X):
        if X.dtype == torch.float32:
            raise torch.linalg.LinAlgError("no")
        return eigh(X)

    monkeypatch.setattr(torch.linalg, "eigh", fragile)
    X = inverse_root(A.float(), 2, method="eigen")
    assert X.dtype == torch.float32 and error(X.double(), root(2)) < 1e-5


def test_and_if_that_fails_the_run_ends_with_its_reason(monkeypatch):
    def broken(X):
        raise torch.linalg.LinAlgError("no")

    monkeypatch.setattr(torch.linalg, "eigh", broken)
    with pytest.raises(Failure, match="eigendecomposition of a 3 x 3 matrix did not converge: no"):
        inverse_root(torch.eye(3), 2, method="eigen")


def test_its_tolerance_is_a_millionth_unless_given():
    """For one eigenvalue the error is as large as the tolerance allows, for some d from 1e-4 to 1e-2."""
    for d in torch.logspace(-4, -2, 60, dtype=torch.float64).tolist():
        X, converged = coupled_newton(torch.full((1, 1, 1), 1 - d, dtype=torch.float64), 2, [1.0], 1 - d)
        assert converged == [True] and abs(X.item() ** 2 * (1 - d) - 1) <= 1.01e-6


def test_a_bound_of_all_spectra_of_a_batch_saves_steps():
    """The smallest eigenvalue, 1e-6, is that of the matrix of norm 1; the other one has the norm 1e-5."""
    (A, root), (small, small_root) = known(20, spread(20, 1e6)), known(20, 1e-5 * spread(20, 10.0))
    X, converged = coupled_newton(torch.stack([A, small]), 4, [1.0, 1e-5], 1e-6, max_iterations=11)
    assert converged == [True, True] and error(X[0], root(4)) < 1e-6 and error(X[1], small_root(4)) < 1e-6
