"""The time until a target is reached, of seeds some of which never reach it: share, median and interval.

The median is that of Kaplan and Meier's estimate of the share of seeds that are not there yet (E. L. Kaplan and P.
Meier, Nonparametric estimation from incomplete observations, JASA 53, 1958, 457-481), so that a seed that never gets
there counts as late and is not left out. Its interval has the times at which the band of that share contains one half
(R. Brookmeyer and J. Crowley, A confidence interval for the median survival time, Biometrics 38, 1982, 29-41). The band
is that of log(-log(share)), as scipy computes it.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import numpy as np

LEVEL = 0.95


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
    """The summary of the times of the seeds [seeds], which are infinite where the target was not reached."""
    from scipy import stats

    hit = times <= horizon
    if not hit.any():
        missing = math.nan if len(times) < 2 else math.inf
        return Reached(0, len(times), math.inf if len(times) else math.nan, missing, missing)
    share = stats.ecdf(stats.CensoredData.right_censored(np.where(hit, times, horizon), ~hit)).sf
    events = int(np.searchsorted(share.quantiles, times[hit].max(), side="right"))
    median = _first(share.quantiles, share.probabilities[:events])
    if len(times) < 2:
        return Reached(1, 1, median, math.nan, math.nan)
    with warnings.catch_warnings():  # the band is not defined where the share is zero
        warnings.simplefilter("ignore", RuntimeWarning)
        band = share.confidence_interval(LEVEL, method="log-log")
    low = np.nan_to_num(band.low.probabilities[:events], nan=0.0)
    high = np.fmin.accumulate(np.append(1.0, band.high.probabilities[:events]))[1:]
    return Reached(int(hit.sum()), len(times), median, _first(share.quantiles, low), _first(share.quantiles, high))


def _first(times: np.ndarray, shares: np.ndarray) -> float:
    """The first time at which a share is at most one half; infinite if there is none. The shares may be fewer."""
    at_most_half = np.flatnonzero(shares <= 0.5 + 1e-12)
    return float(times[at_most_half[0]]) if len(at_most_half) else math.inf
