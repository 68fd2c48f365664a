"""Tests whether the mean of a sample lies between two bounds, on plain arrays. They decide the claims.

The sample has one number for each seed: a difference, the logarithm of a ratio, or a value. It may have infinities,
from runs that diverged, and NaN if both runs of a pair diverged.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

SIGN_TEST = "exact sign test"
T_TEST = "t-test"
BY_SIGN = "no variance, the sign alone"
COUNTED = "a count, which no seed changes"
NONE = "none"


@dataclass(frozen=True)
class Decision:
    """The p values of "the mean lies inside" (p_holds) and "it lies outside" (p_fails); 1 if unknown."""

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

    - Fewer than two values: 1 and 1, no test; one exact value is decided by its sign.
    - All values equal, or the same infinity: there is no variance, and the sign decides (p = 0); nothing is decided if
    the
      values equal the threshold.
    - A value that is not finite (of a pair in which a run diverged): the t-test is not defined. The exact sign test, in
    which
      ties and pairs that both diverged do not count.
    - Otherwise Student's one-sample t-test (of differences: the paired t-test).
    """
    if len(sample) < (1 if exact else 2):
        return 1.0, 1.0, NONE
    side = np.sign(np.nan_to_num(sample - threshold, nan=0.0))  # inf - inf: both diverged, a tie
    if _constant(sample):
        return (float(side[0] >= 0), float(side[0] <= 0), COUNTED if exact else BY_SIGN)
    if np.isfinite(sample).all():
        from scipy import stats  # takes half a second, which reports without claims save

        result: Any = stats.ttest_1samp(sample, threshold, alternative="less")  # scipy does not annotate its pvalue
        less = float(result.pvalue)
        return less, 1 - less, T_TEST
    below, above = int((side < 0).sum()), int((side > 0).sum())
    if below + above == 0:
        return 1.0, 1.0, SIGN_TEST
    return _at_least(below, below + above), _at_least(above, below + above), SIGN_TEST


def _constant(sample: np.ndarray) -> bool:
    """Whether all values are the same infinity, or equal within rounding."""
    if np.isnan(sample).any():
        return False
    if not np.isfinite(sample).all():
        return bool((sample == sample[0]).all())
    return float(np.ptp(sample)) <= 1e-12 * float(np.abs(sample).max())


def _at_least(successes: int, trials: int) -> float:
    """P(X >= successes) for a fair coin."""
    from scipy import stats

    return float(stats.binomtest(successes, trials, alternative="greater").pvalue)
