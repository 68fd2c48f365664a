"""The time until a target is reached, of seeds some of which never reach it: share, median and interval.

The median is that of Kaplan and Meier's estimate of the share of seeds that are not there yet (E. L. Kaplan and P.
Meier, Nonparametric estimation from incomplete observations, JASA 53, 1958, 457-481), so that a seed that never gets
there counts as late and is not left out. Its interval has the times at which the band of that share contains one half
(R. Brookmeyer and J. Crowley, A confidence interval for the median survival time, Biometrics 38, 1982, 29-41). The band
is that of log(-log(share)), as scipy computes it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

QUANTILE = 1.959963984540054
"""Of the normal distribution, at 97.5 %."""


@dataclass(frozen=True)
class Reached:
    """The number of seeds that reached the target, of all seeds, and the median time.

    median: infinite if half of the seeds or more were not there at the horizon, NaN without a seed. low, high: the 95 %
    interval; high is infinite where so few seeds do not bound it. Both are NaN below two seeds.
    """

    hit: int
    seeds: int
    median: float
    low: float
    high: float


def reached(times: np.ndarray, horizon: float) -> Reached:
    """The summary of the times of the seeds [seeds], which are infinite where the target was not reached.

    Every seed that is not there is censored at the horizon, so that Kaplan and Meier's estimate falls at times alone.
    """
    events, count = np.unique(times[times <= horizon], return_counts=True)
    seeds = len(times)
    if not len(events):
        missing = math.nan if seeds < 2 else math.inf
        return Reached(0, seeds, math.inf if seeds else math.nan, missing, missing)
    left = seeds - np.append(0, np.cumsum(count))  # seeds that are not there before each event, and after the last
    share = left[1:] / seeds
    median = _first(events, share)
    if seeds < 2:
        return Reached(1, 1, median, math.nan, math.nan)
    with np.errstate(divide="ignore", invalid="ignore"):  # the band is not defined where the share is zero
        variance = np.cumsum(count / (left[:-1] * left[1:])) / np.log(share) ** 2
        centre, half = np.log(-np.log(share)), QUANTILE * np.sqrt(variance)
        low, high = np.exp(-np.exp(centre + half)), np.exp(-np.exp(centre - half))
    low = np.nan_to_num(low, nan=0.0)
    high = np.fmin.accumulate(np.append(1.0, high))[1:]
    return Reached(int(count.sum()), seeds, median, _first(events, low), _first(events, high))


def _first(times: np.ndarray, shares: np.ndarray) -> float:
    """The first time at which a share is at most one half; infinite if there is none. The shares may be fewer."""
    at_most_half = np.flatnonzero(shares <= 0.5 + 1e-12)
    return float(times[at_most_half[0]]) if len(at_most_half) else math.inf
