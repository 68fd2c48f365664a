"""Kaplan and Meier's median, by hand."""

import math
import warnings

import numpy as np
import pytest
from scipy import stats

from sobench.report.comparison.survival import reached


def test_the_median_counts_the_seeds_that_never_get_there():
    found = reached(np.array([1.0, 2.0, 3.0, np.inf, np.inf]), horizon=10)
    assert (found.hit, found.seeds) == (3, 5)
    assert found.median == 3.0  # a mean over those that got there would say 2
    assert found.high == math.inf  # its band contains one half up to the horizon


def test_half_of_the_seeds_or_more_missed_it():
    assert reached(np.array([1.0, np.inf, np.inf]), 10).median == math.inf
    assert reached(np.array([1.0, np.inf]), 10).median == 1.0  # the share of those not there is one half
    assert reached(np.array([np.inf, np.inf]), 10).median == math.inf


def test_a_time_beyond_the_horizon_is_none():
    found = reached(np.array([1.0, 11.0, 12.0]), 10)
    assert found.hit == 1 and found.median == math.inf


def test_without_seeds_and_with_one():
    nothing, one, none = (reached(np.array(times), 10) for times in ([], [4.0], [np.inf]))
    assert math.isnan(nothing.median) and nothing.seeds == 0
    assert one.median == 4.0 and math.isnan(one.low)
    assert none.median == math.inf and none.hit == 0


def test_the_interval_is_that_of_brookmeyer_and_crowley():
    """Greenwood's variance and the band of log(-log S), by hand for ten seeds that all get there."""
    times = np.arange(1.0, 11.0)
    share = 1 - times / 10
    band = []
    for k in range(9):
        variance = sum(1 / ((10 - i) * (10 - i - 1)) for i in range(k + 1)) / math.log(share[k]) ** 2
        centre = math.log(-math.log(share[k]))
        half = 1.959964 * math.sqrt(variance)
        band.append((math.exp(-math.exp(centre + half)), math.exp(-math.exp(centre - half))))
    low = next(t for t, (lower, _) in zip(times, band) if lower <= 0.5)
    high = next(t for t, (_, upper) in zip(times, band) if upper <= 0.5)
    found = reached(times, 20)
    assert (found.median, found.low, found.high) == (5.0, low, high)


@pytest.mark.slow
def test_the_interval_of_the_median_has_the_truth():
    generator = np.random.default_rng(0)
    truth, hits, tries = math.log(2), 0, 1_000
    for _ in range(tries):
        found = reached(np.where((t := generator.exponential(size=30)) < 2, t, np.inf), 2)
        hits += found.low <= truth <= found.high
    assert 0.92 <= hits / tries <= 0.98


@pytest.mark.parametrize("seed", range(20))
def test_it_is_scipys_estimate_and_band(seed):
    generator = np.random.default_rng(seed)
    times = generator.integers(1, 8, size=generator.integers(3, 12)).astype(float)
    times[generator.random(len(times)) < 0.3] = np.inf
    horizon, hit = 6.0, times <= 6
    found = reached(times, horizon)
    if not hit.any():
        return
    share = stats.ecdf(stats.CensoredData.right_censored(np.where(hit, times, horizon), ~hit)).sf
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        band = share.confidence_interval(0.95, method="log-log")

    def first(shares):
        last = share.quantiles <= times[hit].max()
        below = share.quantiles[last & (shares <= 0.5 + 1e-12)]
        return below[0] if len(below) else math.inf

    everyone = share.probabilities <= 0
    assert found.median == first(share.probabilities)
    assert found.low == first(np.where(everyone, 0.0, band.low.probabilities))
    high = np.where(everyone, 1.0, band.high.probabilities)  # no band there: the last one before it holds
    assert found.high == first(np.minimum.accumulate(high))
