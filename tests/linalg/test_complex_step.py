"""Tests of differences and complex steps against derivatives in closed form."""

import math

import pytest
import torch
from problems import error, noise

from sobench.errors import UsageError
from sobench.linalg import cg
from sobench.linalg.complex_step import (
    STEP,
    central_difference,
    central_product,
    complex_step,
    csdd,
    forward_difference,
    forward_product,
    hessian,
)


def f(x):
    """The function of the paper's figure 1."""
    return x.exp() / (x * x + 1)


def slope(x: float) -> float:
    return math.exp(x) * (x - 1) ** 2 / (x * x + 1) ** 2


X = torch.tensor([[10.0, -3.0], [0.25, 2.0]], dtype=torch.float64)
SLOPE = torch.tensor([[slope(x) for x in row] for row in X.tolist()], dtype=torch.float64)
PRODUCTS = [forward_product, central_product, csdd]


@pytest.mark.parametrize("h", [1e-8, STEP, 1e-20, 1e-100, 1e-300])
def test_a_complex_step_is_right_to_rounding_however_small(h):
    assert error(complex_step(f, X, h), SLOPE) < 1e-15


def test_the_truncation_error_of_each_is_of_its_order():
    """f''/2 h, f'''/6 h^2 and -f'''/6 h^2, f = x^3 at 1: 3h, h^2 and -h^2."""
    x, h = torch.ones((), dtype=torch.float64), 2.0**-10
    cube = lambda x: x * x * x
    assert float(forward_difference(cube, x, h)) == 3 + 3 * h + h * h
    assert float(central_difference(cube, x, h)) == 3 + h * h
    assert float(complex_step(cube, x, h)) == 3 - h * h


@pytest.mark.parametrize(
    ("dtype", "forward", "central", "exact"), [(torch.float64, 1e-7, 1e-9, 1e-15), (torch.float32, 1e-3, 1e-4, 1e-6)]
)
def test_defaults_are_right_for_the_type(dtype, forward, central, exact):
    x, expected = X.to(dtype), SLOPE.to(dtype)
    assert exact < error(forward_difference(f, x), expected) < forward
    assert exact < error(central_difference(f, x), expected) < central
    assert error(complex_step(f, x), expected) < exact


def test_a_difference_loses_everything_where_a_complex_step_loses_nothing():
    assert float(forward_difference(f, X, 1e-20).abs().max()) == 0
    assert error(complex_step(f, X, 1e-20), SLOPE) < 1e-15


def quartic():
    """f = theta'A theta / 2 + sum theta^4 / 4: its gradient, its Hessian, theta and p."""
    A = noise((5, 5), 1)
    A = A @ A.T
    theta, p = noise(5, 2), noise(5, 3)
    return (lambda t: A.to(t.dtype) @ t + t**3), A + torch.diag(3 * theta**2), theta, p


@pytest.mark.parametrize(("product", "tolerance"), list(zip(PRODUCTS, (1e-6, 1e-9, 1e-15))))
def test_products_with_the_hessian(product, tolerance):
    g, H, theta, p = quartic()
    assert error(product(g, theta, p), H @ p) < tolerance
    assert torch.equal(product(g, theta, 0 * p), 0 * p)


def test_an_operator_of_complex_steps_solves_equations():
    g, H, theta, p = quartic()
    A = hessian(g, theta)
    assert A.shape == (5, 5) and A.dtype == torch.float64
    assert error(A.dense(), H) < 1e-15
    b = noise(5, 4)
    result = cg(A + 0.5, b, max_iterations=50, tol=1e-13)
    assert error(result.x, torch.linalg.solve(H + 0.5 * torch.eye(5).to(H), b)) < 1e-11


@pytest.mark.parametrize("h", [0.0, -1e-8, math.inf, math.nan])
@pytest.mark.parametrize("product", [*PRODUCTS, lambda g, theta, p, h: hessian(g, theta, h)])
def test_a_step_is_above_zero(product, h):
    g, _, theta, p = quartic()
    with pytest.raises(UsageError, match="h: got .*, allowed: a number above 0"):
        product(g, theta, p, h)


@pytest.mark.parametrize("x", [X + 0j, X.long()], ids=["complex", "integer"])
def test_a_step_starts_from_real_numbers(x):
    for difference in (forward_difference, central_difference, complex_step):
        with pytest.raises(UsageError, match="real numbers, got .*; allowed: float32, float64"):
            difference(f, x)
