"""Tests of CG as a descent method: its stopping rule against a loop, its returned iterates and values."""

import math
from functools import cache

import pytest
import torch
from problems import error, noise

from sobench.errors import UsageError
from sobench.linalg import cg
from sobench.linalg.cg_descent import cg_descent

N = 150


def system(condition=1e3, seed=0, size=N):
    """A positive definite matrix with eigenvalues from 1 to `condition`, and a right-hand side."""
    Q, _ = torch.linalg.qr(noise((size, size), seed))
    return Q @ torch.diag(torch.logspace(0, math.log10(condition), size).double()) @ Q.T, noise((size,), seed + 1)


def q(A, b, x):
    return float(0.5 * x @ A @ x - b @ x)


@cache
def path_from(scale, updates, condition=1e3):
    """q(x_0), ..., q(x_updates) along cg, each iterate from a run of its own; x_0 = scale (1, ..., 1)."""
    A, b = system(condition)
    x0 = scale * torch.ones_like(b)
    return [q(A, b, x0), *(q(A, b, cg(A, b, x0, max_iterations=k, tol=0.0).x) for k in range(1, updates + 1))]


def stops_at(path, tol):
    """The rule of Martens (2010), section 4.4, as printed."""
    for i in range(len(path)):
        k = max(10, math.ceil(0.1 * i))
        if i > k and path[i] < 0 and (path[i] - path[i - k]) / path[i] < k * tol:
            return i
    return None


@pytest.mark.parametrize("tol", [5e-4, 1e-3, 1e-2])
@pytest.mark.parametrize("scale", [0.0, 0.05, 3.0], ids=["from zero", "from near", "from far"])
def test_stops_where_a_loop_by_hand_does(tol, scale):
    A, b = system()
    x0 = scale * torch.ones_like(b)
    path = path_from(scale, 80)
    expected = stops_at(path, tol)
    iterates, status = cg_descent(A, b, x0 if scale else None, max_iterations=80, tol=tol)
    assert (status, iterates[-1].k) == ("converged", expected) and 11 <= expected < 80
    assert iterates[-1].quadratic == pytest.approx(path[expected], rel=1e-9)


def test_a_late_stop_looks_back_a_tenth():
    """For i > 100 k exceeds 10, and a rule with k = 10 throughout stops elsewhere.

    The tolerances at which the two differ depend on the path, which rounding changes.
    """
    A, b = system(1e4)
    path, differing = path_from(3, 140, 1e4), []
    for tol in (2e-2, 1.5e-2, 1e-2, 7e-3, 5e-3, 3e-3, 2e-3):
        ten = next((i for i in range(11, 140) if path[i] < 0 and (path[i] - path[i - 10]) / path[i] < 10 * tol), None)
        expected = stops_at(path, tol)
        if expected and expected > 100 and ten != expected:
            differing.append((cg_descent(A, b, 3 * torch.ones_like(b), max_iterations=140, tol=tol)[0][-1].k, expected))
    assert differing and all(actual == expected for actual, expected in differing)


def test_a_value_above_zero_does_not_stop_it():
    """From a far start q(x) > 0 at first, where progress relative to it would be negative."""
    A, b = system()
    x0 = 30 * torch.ones_like(b)
    assert all(value > 0 for value in path_from(30, 11))
    iterates, status = cg_descent(A, b, x0, max_iterations=140, tol=5e-4)
    assert iterates[-1].k > 11 and iterates[-1].quadratic < 0


@pytest.mark.parametrize("most", [1, 2, 3, 6, 40, 41])
def test_keeps_the_iterates_of_a_geometric_grid_and_the_last(most):
    A, b = system()
    iterates, status = cg_descent(A, b, max_iterations=most, tol=0.0)
    grid = {math.ceil(1.3**j) for j in range(40)}
    assert [one.k for one in iterates] == sorted({k for k in grid if k <= most} | {most}) and status == "max_iterations"
    for one in iterates:
        assert error(one.x, cg(A, b, max_iterations=one.k, tol=0.0).x) < 1e-12
        assert one.quadratic == pytest.approx(q(A, b, one.x), rel=1e-9)


def test_run_to_the_end_it_solves():
    A, b = system(10.0, size=12)
    iterates, status = cg_descent(A, b, max_iterations=500, tol=0.0)
    assert status == "converged" and error(iterates[-1].x, torch.linalg.solve(A, b)) < 1e-12


def test_one_product_an_update_and_one_for_a_start():
    A, b = system()

    class Counted:
        products = 0

        def __matmul__(self, v):
            self.products += 1
            return A @ v

    for x0, more in ((None, 0), (torch.ones_like(b), 1)):
        counted = Counted()
        cg_descent(counted, b, x0, max_iterations=7, tol=0.0)
        assert counted.products == 7 + more


def test_degenerate_systems():
    A, b = system(size=4)
    zero, there = torch.zeros_like(b), torch.linalg.solve(A, b)
    assert cg_descent(A, zero, max_iterations=5, tol=1e-3)[0][0].x.equal(zero)
    iterates, status = cg_descent(A, A @ there, there, max_iterations=5, tol=1e-3)
    assert error(iterates[-1].x, there) < 1e-12
    (only,), status = cg_descent(-A, b, max_iterations=5, tol=1e-3)
    assert status == "negative_curvature" and only.x.equal(zero) and only.k == 0
    assert cg_descent(A * math.nan, b, max_iterations=5, tol=1e-3)[1] == "not_finite"
    with pytest.raises(UsageError, match="max_iterations >= 1, got 0"):
        cg_descent(A, b, max_iterations=0, tol=1e-3)
