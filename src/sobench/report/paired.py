"""Tests whether the mean of a sample lies between two bounds, on plain arrays. They decide the claims.

The sample has one number for each seed: a difference, the logarithm of a ratio, or a value. It may have infinities,
from runs that diverged, and NaN if both runs of a pair diverged.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass

import numpy as np

SIGN_TEST = "exact sign test"
T_TEST = "t-test"
COUNTED = "a count, which no seed changes"
NONE = "none"
POWER = 0.8
"""The probability with which the seeds that `needed` names would decide."""
MOST = 1_000
"""The largest number of seeds that `needed` names."""


@dataclass(frozen=True)
class Decision:
    """The p values of "the mean lies inside" (p_holds) and "it lies outside" (p_fails); 1 if unknown.

    Of a count they are 0 or 1: it is known, not tested.
    """

    p_holds: float
    p_fails: float
    test: str
    n: int


def between(sample: np.ndarray, low: float = -math.inf, high: float = math.inf, *, exact: bool = False) -> Decision:
    """Test low < mean < high; an infinite bound is ignored.

    With both bounds: for "inside" two one-sided tests, of which the larger p value counts; for "outside" twice the
    smaller one (Bonferroni). exact: the sample is of counts that no seed changes, of which one is enough.
    """
    sides = []
    if math.isfinite(high):
        sides.append(one_sided(sample, high, exact=exact))
    if math.isfinite(low):
        less, greater, test = one_sided(sample, low, exact=exact)
        sides.append((greater, less, test))
    p_holds = max(inside for inside, _, _ in sides)
    p_fails = min(1.0, len(sides) * min(outside for _, outside, _ in sides))
    return Decision(p_holds, p_fails, sides[0][2], len(sample))


def one_sided(sample: np.ndarray, threshold: float, *, exact: bool = False) -> tuple[float, float, str]:
    """The p values of "mean < threshold" and "mean > threshold", and the name of the test.

    - Fewer than two values: 1 and 1, no test.
    - Equal counts that no seed changes: known, so 0 and 1.
    - A value that is not finite (of a pair in which a run diverged), or equal values: the t-test is not defined. The
      exact sign test, whose p value is at least 2^-n; ties and pairs that both diverged do not count.
    - Otherwise Student's one-sample t-test (of differences: the paired t-test).
    """
    if exact and len(sample) and _constant(sample):
        return float(sample[0] >= threshold), float(sample[0] <= threshold), COUNTED
    if len(sample) < 2:
        return 1.0, 1.0, NONE
    if _has_spread(sample):
        from scipy import special  # takes a while, which reports without claims save

        t = (sample.mean() - threshold) / (sample.std(ddof=1) / math.sqrt(len(sample)))
        less, greater = special.stdtr(len(sample) - 1, [t, -t])
        smallest = sys.float_info.min
        return max(float(less), smallest), max(float(greater), smallest), T_TEST
    below, above = _signs(sample, threshold)
    return _at_least(below, below + above), _at_least(above, below + above), SIGN_TEST


def interval(sample: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """Student's two-sided confidence interval of the mean; NaN where the t-test is not defined."""
    if len(sample) < 2 or not _has_spread(sample):
        return math.nan, math.nan
    from scipy import special

    half = special.stdtrit(len(sample) - 1, (1 + level) / 2) * sample.std(ddof=1) / math.sqrt(len(sample))
    return float(sample.mean() - half), float(sample.mean() + half)


def needed(sample: np.ndarray, threshold: float, level: float) -> int | None:
    """The number of seeds with which a one-sided test at this level would reject with probability POWER.

    The truth is taken to be what the sample shows: its mean and spread, for the t-test by the noncentral t
    distribution; the share of its signs, for the sign test by the binomial distribution. The direction is that of the
    sample. None: more than MOST, or the sample shows nothing.
    """
    if len(sample) < 2:
        return None
    seeds = np.arange(2, MOST + 1)
    enough = power(sample, threshold, level, seeds) >= POWER
    return int(seeds[enough.argmax()]) if enough.any() else None


def power(sample: np.ndarray, threshold: float, level: float, seeds: np.ndarray) -> np.ndarray:
    """The probability with which a one-sided test at this level would reject, for each number of seeds; see `needed`.

    The sample has two values at least.
    """
    power_of = _power_of_t if _has_spread(sample) else _power_of_signs
    return power_of(sample, threshold, level, seeds)


def _power_of_t(sample: np.ndarray, threshold: float, level: float, seeds: np.ndarray) -> np.ndarray:
    from scipy import special

    size = abs(sample.mean() - threshold) / sample.std(ddof=1)
    critical = special.stdtrit(seeds - 1, 1 - level)
    missed = special.nctdtr(seeds - 1, np.minimum(size * np.sqrt(seeds), 1e3), critical)
    return 1 - np.nan_to_num(missed, nan=0.0)  # NaN: the noncentrality is out of the function's range, the power 1


def _power_of_signs(sample: np.ndarray, threshold: float, level: float, seeds: np.ndarray) -> np.ndarray:
    from scipy import special  # its `stats` takes a second to import

    below, above = _signs(sample, threshold)
    if below == above:
        return np.zeros(len(seeds))
    guess = np.floor(np.nan_to_num(special.bdtrik(level, seeds, 0.5), nan=-1.0))
    near = np.maximum(guess + np.array([[-1], [0], [1]]), -1.0)  # -1: not even all signs on one side are enough
    most = np.where((near < 0) | (special.bdtr(near, seeds, 0.5) <= level), near, -1.0).max(axis=0)
    critical = seeds - most  # the fewest signs on one side whose p value is at most the level
    return special.bdtrc(critical - 1, seeds, max(below, above) / (below + above))


def _has_spread(sample: np.ndarray) -> bool:
    return bool(np.isfinite(sample).all()) and not _constant(sample)


def _constant(sample: np.ndarray) -> bool:
    """Whether all values are the same infinity, or equal within rounding."""
    if np.isnan(sample).any():
        return False
    if not np.isfinite(sample).all():
        return bool((sample == sample[0]).all())
    return float(np.ptp(sample)) <= 1e-12 * float(np.abs(sample).max())


def _signs(sample: np.ndarray, threshold: float) -> tuple[int, int]:
    """The numbers of values below and above the threshold. NaN, of two runs that diverged, is neither."""
    return int((sample < threshold).sum()), int((sample > threshold).sum())


def _at_least(successes: int, trials: int) -> float:
    """P(X >= successes) for a fair coin; 1 without a trial."""
    return sum(math.comb(trials, k) for k in range(successes, trials + 1)) / 2**trials
