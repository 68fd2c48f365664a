"""Intervals over problems and seeds: degenerate cases, hand-computed cases, and their coverage by simulation."""

import math

import numpy as np
import pytest
from scipy import stats

from sobench.report.comparison.bootstrap import FEWEST_PROBLEMS, PROBLEMS, SEEDS, estimate


def test_the_estimate_is_the_mean_over_problems_of_the_means_over_seeds():
    sample = [np.array([1.0, 3.0]), np.array([10.0])]
    assert estimate(sample).mean == pytest.approx((2 + 10) / 2)  # not the mean over all seeds, 14 / 3


def test_problems_without_a_number_are_left_out():
    assert estimate([np.array([1.0, 2.0]), np.array([])]).mean == 1.5
    assert math.isnan(estimate([np.array([])]).mean)


def test_the_interval_is_over_problems_from_six_on():
    few, enough = ([np.arange(5.0) + i for i in range(count)] for count in (FEWEST_PROBLEMS - 1, FEWEST_PROBLEMS))
    assert estimate(few).over == SEEDS and estimate(enough).over == PROBLEMS
    assert estimate(few).known and estimate(enough).known


def test_without_a_spread_there_is_no_interval():
    assert not estimate([np.ones(5)]).known
    assert not estimate([np.array([2.0])]).known
    assert not estimate([np.array([1.0, 2.0, 4.0])]).known  # one draw in nine has no spread: more than a tail


def test_the_interval_moves_and_scales_with_the_sample():
    sample = [np.random.default_rng(i).normal(size=5) for i in range(8)]
    one, other = estimate(sample), estimate([3 * numbers + 7 for numbers in sample])
    assert (other.low, other.high) == (pytest.approx(3 * one.low + 7), pytest.approx(3 * one.high + 7))
    assert other.p < one.p  # its mean is away from zero


def test_seeds_that_differ_less_narrow_the_interval_over_seeds_alone():
    noise = np.random.default_rng(0).normal(size=(8, 5))
    means = np.arange(8.0)[:, None]
    one, other = (estimate(list(means + scale * noise)) for scale in (0.01, 0.1))
    assert one.high - one.low == pytest.approx(other.high - other.low, rel=0.2)  # the problems make it
    one, other = (estimate(list((means + scale * noise)[:5])) for scale in (0.01, 0.1))
    assert other.high - other.low == pytest.approx(10 * (one.high - one.low), rel=0.01)


def test_the_p_value_agrees_with_the_interval():
    for shift in (0.0, 0.3, 0.6, 1.2):
        one = estimate([np.random.default_rng(i).normal(size=5) + shift for i in range(8)])
        assert (one.p < 0.05) == (not one.low <= 0 <= one.high)


def test_a_large_normal_sample_has_students_interval():
    numbers = np.random.default_rng(1).normal(size=200)
    one = estimate([numbers], draws=20_000)
    low, high = stats.t.interval(0.95, 199, numbers.mean(), stats.sem(numbers))
    assert (one.low, one.high) == (pytest.approx(low, abs=0.01), pytest.approx(high, abs=0.01))


COVERAGE = [
    (problems, between, within, shape)
    for problems in (1, 3, 8, 12)
    for between, within in ((0.0, 1.0), (1.0, 1.0), (1.0, 0.1))
    for shape in ("normal", "exponential")
    if problems >= FEWEST_PROBLEMS or (shape, between) == ("normal", 1.0)
]


def covered(problems: int, between: float, within: float, shape: str, tries: int) -> float:
    """The share of samples whose interval has the true mean: zero, or over seeds that of these problems."""
    generator = np.random.default_rng(0)

    def draw(size):
        return generator.normal(size=size) if shape == "normal" else generator.exponential(size=size) - 1

    hits = 0
    for _ in range(tries):
        means = between * draw((problems, 1))
        one = estimate(list(means + within * draw((problems, 5 if problems > 1 else 10))), draws=1_000)
        hits += one.low <= (0 if one.over == PROBLEMS else means.mean()) <= one.high
    return hits / tries


@pytest.mark.slow
@pytest.mark.parametrize("problems, between, within, shape", COVERAGE)
def test_95_percent_of_the_intervals_have_the_truth(problems, between, within, shape):
    share = covered(problems, between, within, shape, 1_500)
    assert 0.92 <= share <= 0.98  # 93 to 97 %, and twice the standard error of a share of 1,500


def test_most_of_a_few_intervals_have_the_truth():
    assert 0.87 <= covered(8, 1.0, 1.0, "normal", 150) <= 1.0
