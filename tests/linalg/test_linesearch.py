"""Tests of Armijo's rule, the Taylor ratio and backtracking over iterates, on functions of one variable."""

import math

import pytest
import torch

from sobench.linalg.cg_descent import Iterate
from sobench.linalg.linesearch import Sized, armijo, backtrack, taylor


def scalar(x):
    return torch.tensor(float(x), dtype=torch.float64)


def search(f, slope, **options):
    tried = []

    def g(t):
        tried.append(t)
        return scalar(f(t))

    return armijo(g, scalar(f(0.0)), scalar(slope), **options), tried


def test_takes_the_first_rate_where_it_lowers_the_loss_enough():
    assert search(lambda t: (t - 1) ** 2, -2.0) == (1.0, [1.0])
    assert search(lambda t: (t - 1) ** 2, -2.0, first=0.3) == (0.3, [0.3])


def test_shrinks_until_the_condition_holds():
    """f(t) = (t - 0.3)^2 falls below f(0) + c t f'(0) = 0.09 - 0.006 t at t < 0.594: 1, 0.8, 0.64, 0.512."""
    t, tried = search(lambda t: (t - 0.3) ** 2, -0.6)
    assert tried == pytest.approx([1.0, 0.8, 0.64, 0.512]) and t == tried[-1]


def test_the_reduction_asked_for_is_a_part_of_the_slope():
    """f(t) = 1 - 0.2 t for a slope of -1 and c = 0.2: exactly enough; with a little more asked, never."""
    assert search(lambda t: 1 - 0.25 * t, -1.0, c=0.25)[0] == 1.0
    assert search(lambda t: 1 - 0.25 * t, -1.0, c=0.26)[0] == 0.0
    assert search(lambda t: 1 - 0.25 * t, -1.0, c=0.25, first=0.4)[0] == 0.4  # c t f'(0), not c f'(0)


@pytest.mark.parametrize("f", [lambda t: 1 + t, lambda t: math.nan])
def test_gives_up_after_its_trials(f):
    t, tried = search(f, -1.0, trials=7)
    assert t == 0.0 and len(tried) == 7


def test_along_an_ascent_the_loss_itself_must_not_rise():
    assert search(lambda t: 1 + t, 1.0)[0] == 0.0
    assert search(lambda t: 1 - t, 1.0)[0] == 1.0


def path(*values):
    """Iterates whose loss is their x."""
    return [Iterate(scalar(value), k, -1.0) for k, value in enumerate(values, 1)]


@pytest.mark.parametrize(
    ("values", "chosen", "read"),
    [
        ((3, 2, 1), 3, 2),  # the last is the best
        ((3, 1, 2), 2, 3),
        ((1, 2, 3), 1, 3),
        ((0, 4, 2, 3), 3, 3),  # a lower one behind a rise is not looked at
        ((2, 2), 2, 2),  # no gain is no reason to go back
        ((5,), 1, 1),
        ((1, math.nan), 1, 2),
        ((math.nan, 1), 2, 2),
    ],
)
def test_backtracking_goes_back_while_the_loss_falls(values, chosen, read):
    seen = []

    def f(x):
        seen.append(x)
        return x

    best, value = backtrack(f, path(*values))
    assert (best.k, len(seen)) == (chosen, read) and value.item() == values[chosen - 1]


# The Taylor ratio; eta is worked out in each comment


def sized(f, slope, curvature, ratio=0.05, tries=20, value=None):
    tried = []

    def g(gamma):
        tried.append(gamma)
        return scalar(f(gamma))

    start = scalar(f(0.0) if value is None else value)
    return taylor(g, start, scalar(slope), scalar(curvature), ratio=ratio, tries=tries), tried


def test_a_quadratic_is_left_at_one():
    assert sized(lambda t: 3 - t + 0.75 * t**2, -1.0, 1.5) == (Sized(1.0, 0.0, 0), [1.0])


def test_a_ratio_below_half_is_left_at_one():
    """eta(1) = 0.02 / 0.98, below 0.025."""
    result, tried = sized(lambda t: -t + 0.02 * t**3, -1.0, 0.0)
    assert (result.gamma, result.tries, tried) == (1.0, 0, [1.0]) and result.eta == pytest.approx(0.02 / 0.98)


def test_halves_until_the_ratio_is_in_its_interval():
    """eta(t) = t^2 / |2 - t^2|: 1, 0.143, 0.0323."""
    result, tried = sized(lambda t: -t + 0.5 * t**3, -1.0, 0.0)
    assert tried == [1.0, 0.5, 0.25] and (result.gamma, result.tries) == (0.25, 2)
    assert result.eta == pytest.approx(0.03125 / 0.96875)


def test_stretches_what_was_shrunk_too_far():
    """eta(t) = 0.055 t^2 / (1 - 0.055 t^2): 0.0582, 0.0139, 0.0319."""
    result, tried = sized(lambda t: 1 - t + 0.055 * t**3, -1.0, 0.0)
    assert tried == [1.0, 0.5, 0.75] and (result.gamma, result.tries) == (0.75, 2)
    assert result.eta == pytest.approx(0.0309375 / 0.9690625)


def test_the_energy_counts_the_curvature():
    """f = -t + t^2 + 0.1 t^3, whose curvature is 2: eta(t) = 0.1 t^3 / |f|: 1 at t = 1, 0.048 at 0.5."""
    result, tried = sized(lambda t: -t + t**2 + 0.1 * t**3, -1.0, 2.0, ratio=0.06)
    assert tried == [1.0, 0.5] and result.eta == pytest.approx(0.0125 / 0.2375)


@pytest.mark.parametrize("tries", [1, 4])
def test_the_step_is_small_where_no_try_does(tries):
    result, tried = sized(lambda t: -t + 1e6 * t**3, -1.0, 0.0, tries=tries)
    assert (result.gamma, result.tries) == (1e-6, tries) and tried == [0.5**i for i in range(tries + 1)]


@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_shrinks_out_of_where_the_loss_overflows(value):
    result, tried = sized(lambda t: -t + 0.5 * t**3 if t < 0.7 else value, -1.0, 0.0)
    assert tried == [1.0, 0.5, 0.25] and result.gamma == 0.25


def test_a_change_of_rounding_is_no_error_of_the_model():
    eps = torch.finfo(torch.float64).eps
    assert sized(lambda t: 7.0 + 7 * eps, -1e-20, 0.0, value=7.0)[0] == Sized(1.0, 0.0, 0)
    assert sized(lambda t: 7.0 + 700 * eps, -1e-20, 0.0, value=7.0)[0].gamma == 1e-6


def test_a_rise_that_is_foreseen_is_no_reduction():
    """f = -t + 1.5 t^2 + 0.01 t^3 has f(1) = 0.51, of which its model misses 2 %; 1 + t, its own model, never falls."""
    assert sized(lambda t: -t + 1.5 * t**2 + 0.01 * t**3, -1.0, 3.0)[0].gamma < 1
    result, tried = sized(lambda t: 1 + t, 1.0, 0.0, tries=3)
    assert result == Sized(1e-6, math.inf, 3) and tried == [1.0, 0.5, 0.25, 0.125]


def test_no_step_has_no_error():
    assert sized(lambda t: 0.0, 0.0, 0.0)[0] == Sized(1.0, 0.0, 0)


def test_rounding_does_not_depend_on_the_sign_of_f():
    eps = torch.finfo(torch.float64).eps
    assert sized(lambda t: -7.0 + 7 * eps, -1e-20, 0.0, value=-7.0)[0] == Sized(1.0, 0.0, 0)
