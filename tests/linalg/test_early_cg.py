"""Tests of CG that stops at negative curvature: optimality in the Krylov space, cost and local momentum."""

import math

import pytest
import torch

from sobench.errors import UsageError
from sobench.linalg.early_cg import early_cg

ZERO = torch.zeros(3, dtype=torch.float64)
ONES = torch.ones(3, dtype=torch.float64)


class Matrix:
    """A matrix that writes down what it is asked for."""

    def __init__(self, *diagonal, basis=None):
        Q = torch.eye(len(diagonal), dtype=torch.float64) if basis is None else basis
        self.matrix, self.asked = Q @ torch.diag(torch.tensor(diagonal, dtype=torch.float64)) @ Q.T, []

    def along(self, p):
        self.asked.append("curvature")
        return p @ self.matrix @ p

    def __matmul__(self, p):
        self.asked.append("product")
        return self.matrix @ p


def generic(*eigenvalues):
    """With these eigenvalues in a random orthonormal basis, a gradient, and a start."""
    generator = torch.Generator().manual_seed(0)
    draw = torch.randn(len(eigenvalues), len(eigenvalues) + 2, generator=generator, dtype=torch.float64)
    return Matrix(*eigenvalues, basis=torch.linalg.qr(draw[:, :-2])[0]), draw[:, -2], draw[:, -1]


def minimiser(H, g, start, k):
    """argmin g'x + x'Hx/2 over start + span{r, H r, ..., H^(k-1) r}, by a dense solve."""
    r = -(g + H.matrix @ start)
    K, _ = torch.linalg.qr(torch.stack([torch.linalg.matrix_power(H.matrix, i) @ r for i in range(k)], 1))
    return start + K @ torch.linalg.solve(K.T @ H.matrix @ K, K.T @ r)


@pytest.mark.parametrize("scale", [1.0, 1e-9])
@pytest.mark.parametrize("k", [1, 3, 6])
def test_minimises_the_quadratic_over_the_krylov_space_from_any_start(k, scale):
    """However small the gradient: no curvature of 1 and more is a flat one."""
    H, g, start = generic(1.0, 2.0, 3.0, 5.0, 8.0, 13.0)
    result = early_cg(H, scale * g, scale * start, max_iterations=k, tol=0.0)
    torch.testing.assert_close(result.x, scale * minimiser(H, g, start, k), rtol=0, atol=1e-11 * scale)
    assert (result.iterations, result.terminated, result.flat) == (k, False, 0)
    assert H.asked == ["product"] + ["curvature", "product"] * k


def test_stops_at_the_first_residual_below_tol_times_g():
    H, g, start = generic(*torch.linspace(1, 30, 20).tolist())
    result = early_cg(H, g, start, max_iterations=100, tol=1e-3)
    before = early_cg(H, g, start, max_iterations=result.iterations - 1, tol=0.0)
    residuals = [(g + H.matrix @ one.x).norm() / g.norm() for one in (before, result)]
    assert residuals[0] > 1e-3 >= residuals[1] and not result.terminated


def test_a_start_that_is_good_enough_is_returned():
    H, g, _ = generic(1.0, 2.0, 3.0)
    start = -torch.linalg.solve(H.matrix, g)
    result = early_cg(H, g, start, max_iterations=9, tol=1e-10)
    assert (result.iterations, result.terminated) == (0, False) and result.x.equal(start)


def test_without_early_termination_an_indefinite_system_is_solved():
    """Conjugate directions solve H x = -g in as many steps as H has rows, whatever the signs of the curvatures."""
    H, g, start = generic(-2.0, 1.0, 3.0, 5.0)
    result = early_cg(H, g, start, max_iterations=4, tol=0.0, early_termination=False)
    torch.testing.assert_close(result.x, -torch.linalg.solve(H.matrix, g), rtol=1e-9, atol=1e-9)
    assert (result.iterations, result.terminated, result.flat) == (4, False, 0)
    assert early_cg(H, g, start, max_iterations=4, tol=0.0).terminated


def test_later_negative_curvature_gives_the_iterate_before_it_and_no_product():
    H = Matrix(3.0, 1.0, -0.5)
    result = early_cg(H, -ONES, ZERO, max_iterations=9, tol=1e-10)
    assert result.terminated and result.iterations >= 1 and H.asked[-1] == "curvature"
    torch.testing.assert_close(result.x, minimiser(H, -ONES, ZERO, result.iterations), rtol=1e-12, atol=0)


@pytest.mark.parametrize("eigenvalue", [-1.0, math.nan])
def test_a_first_direction_of_no_use_leaves_the_start(eigenvalue):
    H, start = Matrix(eigenvalue, eigenvalue, eigenvalue), torch.arange(3.0, dtype=torch.float64)
    result = early_cg(H, ONES, start, max_iterations=9, tol=0.0)
    if math.isnan(eigenvalue):  # not even a residual: the loop does not begin
        assert result.iterations == 0
    else:
        assert (result.iterations, result.terminated, H.asked) == (0, True, ["product", "curvature"])
    assert result.x.equal(start)


class NotANumber(Matrix):
    def along(self, p):
        return math.nan * p[0]


def test_a_curvature_that_is_not_a_number_ends_the_loop():
    result = early_cg(NotANumber(1.0, 1.0, 1.0), ONES, ZERO, max_iterations=9, tol=0.0)
    assert (result.iterations, result.terminated) == (0, True) and result.x.equal(ZERO)


@pytest.mark.parametrize("curvature", [0.0, 5e-9])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_a_flat_direction_has_the_local_momentum(curvature, scale):
    """x = -g / 0.01 after one update, whatever the length of g."""
    g = scale * ONES
    result = early_cg(Matrix(*[curvature] * 3), g, ZERO, max_iterations=1, tol=0.0)
    torch.testing.assert_close(result.x, -100 * g, rtol=1e-12, atol=0)
    assert (result.iterations, result.flat) == (1, 1)


def test_above_the_threshold_it_has_none():
    result = early_cg(Matrix(2e-8, 2e-8, 2e-8), ONES, ZERO, max_iterations=5, tol=1e-9)
    assert (result.iterations, result.flat) == (1, 0)
    torch.testing.assert_close(result.x, -ONES / 2e-8, rtol=1e-12, atol=0)


def test_no_gradient_and_no_start_is_no_work():
    result = early_cg(Matrix(1.0, 1.0, 1.0), ZERO, ZERO, max_iterations=5, tol=0.0)
    assert (result.iterations, result.terminated) == (0, False) and result.x.equal(ZERO)


def test_wrong_arguments():
    with pytest.raises(UsageError, match="max_iterations >= 1, got 0"):
        early_cg(Matrix(1.0, 1.0, 1.0), ONES, ZERO, max_iterations=0, tol=0.0)


@pytest.mark.parametrize("curvature, flat", [(0.9e-8, True), (1.1e-8, False)])
def test_a_unit_direction_is_flat_below_a_curvature_of_1e_8(curvature, flat):
    """For H = c I one step ends at -g / c, or at -g / 0.01 by the local momentum."""
    result = early_cg(Matrix(curvature, curvature, curvature), 3 * ONES, ZERO, max_iterations=1, tol=0.0)
    torch.testing.assert_close(result.x, -3 * ONES / (0.01 if flat else curvature), rtol=1e-12, atol=0)
    assert result.flat == flat
