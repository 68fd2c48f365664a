"""Intervals of a mean over problems and their paired seeds, by the studentized bootstrap.

A sample has an array for each problem, with a number for each seed: the logarithm of a ratio of two times, or whether
one method was faster. The estimate is the mean over the problems of the means over their seeds.

    over problems    t = (mean over problems - estimate) / (standard error over the problems' means)
    over seeds       t = (mean over problems - estimate) / sqrt(sum over problems of variance / n) * problems

For an interval over problems a resample draws problems with replacement, and then seeds within each drawn problem: it
is about all problems of this kind, of which these are a sample. For one over seeds it draws seeds within each problem:
it is about these problems only. The quantiles of t over the resamples take the place of Student's (B. Efron and R.
Tibshirani, An Introduction to the Bootstrap, 1993, section 12.5; A. C. Davison and D. V. Hinkley, Bootstrap Methods and
their Application, 1997, sections 2.4 and 3.8). The draw of seeds adds its own variance to that of the problems' means,
which the percentiles of the estimate itself would count twice; each resample is divided by its own standard error, so t
does not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

FEWEST_PROBLEMS = 6
"""The problems from which on an interval is about all problems of their kind. The exact test needs as many too."""
DRAWS = 4_000
LEVEL = 0.95
PROBLEMS, SEEDS = "problems", "seeds"

Sample = Sequence[np.ndarray]


@dataclass(frozen=True)
class Estimate:
    """A mean and its interval; NaN where it is unknown. over: what was drawn, `problems` or `seeds`.

    p: of "the mean is zero", two sides: twice the share of resamples whose t lies beyond mean / standard error.
    """

    mean: float
    low: float = math.nan
    high: float = math.nan
    over: str = SEEDS
    p: float = math.nan

    @property
    def known(self) -> bool:
        return math.isfinite(self.low) and math.isfinite(self.high)


def estimate(sample: Sample, draws: int = DRAWS, level: float = LEVEL) -> Estimate:
    """The mean and its interval, over problems if there are FEWEST_PROBLEMS, else over seeds.

    Problems without a number are left out. The interval is unknown where all numbers that it rests on are equal, or
    where there are so few that more than a quantile of the resamples have no spread. The draws are the same in every
    call.
    """
    sample = [numbers for numbers in sample if len(numbers)]
    over = PROBLEMS if len(sample) >= FEWEST_PROBLEMS else SEEDS
    if not sample:
        return Estimate(math.nan, over=over)
    counts, padded = _padded(sample)
    means, variances = _moments(counts, padded)
    mean, error = float(means.mean()), float(_error(means, variances, over))
    if not error > 1e-12 * abs(mean):
        return Estimate(mean, over=over)
    t = _studentized(counts, padded, mean, over, draws)
    tail = (1 - level) / 2
    low, high = np.quantile(t, [tail, 1 - tail], method="inverted_cdf")
    if not (math.isfinite(low) and math.isfinite(high)):
        return Estimate(mean, over=over)
    beyond = min((t >= mean / error).mean(), (t <= mean / error).mean())
    p = min(1.0, 2 * max(float(beyond), 1 / draws))
    return Estimate(mean, mean - error * float(high), mean - error * float(low), over, p)


def _padded(sample: Sample) -> tuple[np.ndarray, np.ndarray]:
    """The number of seeds of each problem [problems], and the sample as an array [problems, most seeds], zero beyond
    the seeds of a problem."""
    counts = np.array([len(numbers) for numbers in sample])
    padded = np.zeros((len(sample), counts.max()))
    for problem, numbers in enumerate(sample):
        padded[problem, : len(numbers)] = numbers
    return counts, padded


def _moments(counts: np.ndarray, padded: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mean of each problem and the variance of that mean [problems]; zero of a single seed."""
    means = padded.sum(axis=1) / counts
    there = np.arange(padded.shape[1]) < counts[:, None]
    squares = np.where(there, (padded - means[:, None]) ** 2, 0.0).sum(axis=1)
    return means, squares / np.maximum(1, counts - 1) / counts


def _studentized(counts: np.ndarray, padded: np.ndarray, mean: float, over: str, draws: int) -> np.ndarray:
    """t of each resample [draws]; infinite where the resample has no spread."""
    drawn, places, weights = _places(tuple(counts.tolist()), over, draws)
    resampled = padded.take(places)
    means = np.einsum("dps,dps->dp", resampled, weights)
    variances = np.zeros_like(means)
    if over == SEEDS:  # the spread of the problems' means has that of the seeds in it
        squares = np.einsum("dps,dps->dp", resampled**2, weights)
        variances = np.maximum(0.0, squares - means**2) / np.maximum(1, counts[drawn] - 1)  # n / (n - 1) / n
    difference, errors = means.mean(axis=1) - mean, _error(means, variances, over)
    flat = ~(errors > 1e-7 * np.maximum(np.abs(difference), np.abs(mean)))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(flat, np.copysign(np.inf, difference), difference / errors)


@lru_cache(maxsize=8)
def _places(counts: tuple[int, ...], over: str, draws: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What each resample draws: the problems [draws, problems], in each the places of the seeds in an array [problems,
    most seeds], row by row [draws, problems, most seeds], and the weight of each of these: 1 / n of a problem with n
    seeds, 0 beyond.
    """
    generator = np.random.default_rng(0)
    drawn = generator.integers(len(counts), size=(draws, len(counts)))
    if over == SEEDS:
        drawn[:] = np.arange(len(counts))
    n = np.array(counts)[drawn][:, :, None]
    seeds = (generator.random((*drawn.shape, max(counts))) * n).astype(np.intp)
    weights = np.where(np.arange(max(counts)) < n, 1 / n, 0.0)
    return drawn, drawn[:, :, None] * max(counts) + seeds, weights


def _error(means: np.ndarray, variances: np.ndarray, over: str) -> np.ndarray:
    """The standard error of the mean over problems, from the problems' means and their variances [..., problems]."""
    problems = means.shape[-1]
    if over == PROBLEMS:
        return means.std(axis=-1, ddof=1) / math.sqrt(problems)
    return np.sqrt(variances.sum(axis=-1)) / problems
