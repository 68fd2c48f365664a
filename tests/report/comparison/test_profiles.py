"""Performance profiles by hand, and their bands."""

import math

import numpy as np
import pytest

from sobench.report.comparison import profiles
from sobench.report.comparison.profiles import ratios, scores

TWO = [
    np.array([[1.0, 2.0], [2.0, 2.0], [np.inf, 6.0]]),  # [methods, seeds]
    np.array([[3.0, np.inf], [1.0, np.inf], [1.5, np.inf]]),
]
"""Two problems, three methods, two seeds. No method solves the second seed of the second problem."""


def test_ratios_are_to_the_fastest_of_each_seed():
    np.testing.assert_array_equal(ratios(TWO[0]), [[1, 1], [2, 1], [np.inf, 3]])
    np.testing.assert_array_equal(ratios(TWO[1]), [[3, np.inf], [1, np.inf], [1.5, np.inf]])


def test_the_profile_is_the_share_of_problems_within_a_factor():
    found = profiles.profiles(TWO)
    assert list(found.factors) == [1, 1.5, 2, 3, 4]
    np.testing.assert_allclose(found.shares[0], [0.5, 0.5, 0.5, 0.75, 0.75])
    np.testing.assert_allclose(found.shares[1], [0.5, 0.5, 0.75, 0.75, 0.75])
    np.testing.assert_allclose(found.shares[2], [0, 0.25, 0.25, 0.5, 0.5])


def test_the_score_is_the_area_over_the_logarithm_of_the_factor():
    found = profiles.profiles(TWO)
    by_hand = (0.5 * math.log(3) + 0.75 * math.log(4 / 3)) / math.log(4)
    assert found.scores[0] == pytest.approx(by_hand)
    np.testing.assert_allclose(scores(TWO).mean(axis=0), found.scores)


def test_one_that_is_always_fastest_has_score_one_and_one_that_never_gets_there_zero():
    times = [np.array([[1.0, 1.0], [np.inf, np.inf]])]
    np.testing.assert_allclose(scores(times).mean(axis=0), [1, 0])
    np.testing.assert_array_equal(profiles.profiles(times).shares[:, 0], [1, 0])


def test_problems_count_alike_whatever_their_seeds():
    times = [np.array([[1.0], [2.0]]), np.array([[2.0, 2.0, 2.0], [1.0, 1.0, 1.0]])]
    np.testing.assert_allclose(profiles.profiles(times).shares[:, 0], [0.5, 0.5])


def test_bands_contain_the_profile_and_the_simultaneous_one_is_wider():
    times = [np.random.default_rng(i).lognormal(size=(3, 5)) for i in range(8)]
    found = profiles.profiles(times)
    assert (found.low <= found.shares + 1e-12).all() and (found.shares <= found.high + 1e-12).all()
    assert (found.width >= np.abs(found.high - found.shares).mean(axis=1)).all()


def test_a_resampled_profile_is_a_count_of_seeds():
    """Of 8 problems with 5 or 3 seeds: a whole number of seeds over 8 * 15, to double precision, in [0, 1]."""
    times = [np.random.default_rng(i).lognormal(size=(3, 5 if i % 2 else 3)) for i in range(8)]
    solved = [(ratios(of_problem)[:, :, None] <= np.geomspace(1, 4, 7)) for of_problem in times]
    draws = profiles._draws(solved)
    assert draws.shape == (profiles.DRAWS, 3, 7) and draws.min() >= 0 and draws.max() <= 1 + 1e-12
    np.testing.assert_allclose(draws * 8 * 15, np.round(draws * 8 * 15), rtol=0, atol=1e-9)
    expected = np.mean([of_problem.mean(axis=1) for of_problem in solved], axis=0)
    np.testing.assert_allclose(draws.mean(axis=0), expected, atol=0.03)


def test_a_single_seed_of_a_few_problems_has_no_band():
    found = profiles.profiles([np.array([[1.0], [2.0]])])
    assert np.isnan(found.low).all() and np.isnan(found.width).all()


def test_many_ratios_are_thinned_without_a_change_of_the_score():
    times = [np.random.default_rng(i).lognormal(size=(4, 200)) for i in range(3)]
    found = profiles.profiles(times)
    assert len(found.factors) <= profiles.MOST + 2
    np.testing.assert_allclose(found.scores, scores(times).mean(axis=0))


@pytest.mark.slow
def test_the_simultaneous_band_covers_the_whole_profile():
    """Problems are drawn from a population of known profile: two methods whose ratio is lognormal."""
    generator = np.random.default_rng(0)

    def problem(seeds=5):
        skill = generator.normal(size=(2, 1)) * 0.5
        return np.exp(skill + 0.5 * generator.normal(size=(2, seeds)))

    grid = np.geomspace(1, 4, 50)
    large = np.concatenate([ratios(problem()) for _ in range(40_000)], axis=1)
    truth = (large[0][:, None] <= grid).mean(axis=0)
    hits, tries = 0, 300
    for _ in range(tries):
        found = profiles.profiles([problem() for _ in range(10)])
        at = found.shares[0][np.searchsorted(found.factors, grid, side="right") - 1]
        hits += np.abs(at - truth).max() <= found.width[0]
    assert 0.88 <= hits / tries <= 0.99
