"""Armijo's rule, and the walk back over iterates, on functions of one variable."""

import math

import pytest
import torch

from sobench.linalg.cg_descent import Iterate
from sobench.linalg.linesearch import armijo, backtrack


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
