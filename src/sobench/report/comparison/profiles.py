"""Performance profiles: the share of the problems that a method solves within a factor of the fastest, and their bands.

The ratio of a method on a problem and a seed is its time to the target over the shortest time of any method on that
problem and seed; it is infinite where the method did not get there. The profile at a factor tau is the mean over the
problems of the share of seeds whose ratio is at most tau (E. D. Dolan and J. J. More, Benchmarking optimization
software with performance profiles, Mathematical Programming 91, 2002, 201-213; with seeds as in R. Agarwal et al., Deep
Reinforcement Learning at the Edge of the Statistical Precipice, NeurIPS 2021, whose score distributions have the same
form). The score is the mean of the profile over log tau from 1 to WIDEST (G. E. Dahl et al., Benchmarking Neural
Network Training Algorithms, 2023, section 4.4, with linear tau).

The bands come from a bootstrap over problems and seeds, the same draws for all methods. The pointwise band has the
percentiles at each factor. The simultaneous band is as wide at every factor, so that 95 % of the resampled profiles lie
within it everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from sobench.report.comparison.bootstrap import FEWEST_PROBLEMS, LEVEL

WIDEST = 4.0
"""The largest factor of a profile, as in Dahl et al."""
DRAWS = 1_000
MOST = 200
"""Factors of a profile: where there are more ratios, it is taken at as many factors on a grid."""


@dataclass(frozen=True)
class Profiles:
    """The profiles of all methods: steps at the factors.

    factors: [factors], the first is 1. shares, low, high: [methods, factors], the profile and its pointwise band.
    width: [methods], half the width of the simultaneous band. Bands are NaN where there is nothing to draw from.
    scores: [methods].
    """

    factors: np.ndarray
    shares: np.ndarray
    low: np.ndarray
    high: np.ndarray
    width: np.ndarray
    scores: np.ndarray


def ratios(times: np.ndarray) -> np.ndarray:
    """The times of a problem [methods, seeds] over the shortest of each seed; infinite where the target is missed."""
    fastest = times.min(axis=0)
    with np.errstate(invalid="ignore"):
        return np.where(np.isfinite(times), times / fastest, math.inf)


def profiles(problems: Sequence[np.ndarray]) -> Profiles:
    """The profiles over problems, each with the times of all methods [methods, seeds] on the seeds that all have."""
    of_problems = [ratios(times) for times in problems]
    every = np.concatenate([ratio.ravel() for ratio in of_problems])
    factors = np.unique(np.append(every[every <= WIDEST], [1.0, WIDEST]))
    if len(factors) > MOST:
        factors = np.geomspace(1.0, WIDEST, MOST)
    solved = [ratio[:, :, None] <= factors for ratio in of_problems]  # [methods, seeds, factors]
    shares = np.mean([of_problem.mean(axis=1) for of_problem in solved], axis=0)
    low, high, width = _bands(solved, shares)
    return Profiles(factors, shares, low, high, width, scores(problems).mean(axis=0))


def scores(problems: Sequence[np.ndarray]) -> np.ndarray:
    """The score of each method on each problem alone [problems, methods]: 1 for one that is always the fastest.

    The mean over log tau of a step at the ratio r is the part of log WIDEST that lies above log r.
    """
    with np.errstate(divide="ignore"):
        parts = [np.clip(1 - np.log(ratios(times)) / math.log(WIDEST), 0, 1).mean(axis=1) for times in problems]
    return np.array(parts)


def _bands(solved: Sequence[np.ndarray], shares: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The pointwise band, low and high [methods, factors], and half the width of the simultaneous one [methods]."""
    draws = _draws(solved)
    tail = (1 - LEVEL) / 2
    if draws is None:
        unknown = np.full_like(shares, math.nan)
        return unknown, unknown, unknown[:, 0]
    low, high = np.quantile(draws, [tail, 1 - tail], axis=0)
    return low, high, np.quantile(np.abs(draws - shares).max(axis=2), LEVEL, axis=0)


def _draws(solved: Sequence[np.ndarray]) -> np.ndarray | None:
    """The resampled profiles [draws, methods, factors]; None for one seed of fewer than FEWEST_PROBLEMS problems."""
    seeds = tuple(of_problem.shape[1] for of_problem in solved)
    if len(seeds) < FEWEST_PROBLEMS and max(seeds) < 2:
        return None
    drawn, count = _drawn(seeds), len(seeds)
    methods, _, factors = solved[0].shape
    shares = np.zeros((DRAWS, methods, factors))
    for own in sorted({*seeds}):
        of_own = [problem for problem, its in enumerate(seeds) if its == own]
        times_drawn = np.concatenate([drawn[problem] for problem in of_own], axis=1)
        all_solved = np.concatenate([solved[problem].swapaxes(0, 1) for problem in of_own])  # [seeds, methods, factors]
        flat = all_solved.reshape(len(all_solved), -1).astype(np.float32)
        shares += (times_drawn @ flat).reshape(shares.shape) / np.float64(own * count)
    return shares


@lru_cache(maxsize=8)
def _drawn(seeds: tuple[int, ...]) -> list[np.ndarray]:
    """How often each draw has each seed of a problem [draws, seeds], by problem. seeds: their number, by problem.

    Whole numbers below 2^24: float32 holds them and their sums exactly, in any order. The draws are the same in every
    call.
    """
    generator = np.random.default_rng(0)
    count = len(seeds)
    uniform = np.full(count, 1 / count)
    over_problems = count >= FEWEST_PROBLEMS
    times_drawn = generator.multinomial(count, uniform, DRAWS) if over_problems else np.ones((DRAWS, count), dtype=int)
    return [
        generator.multinomial(own * times_drawn[:, problem], np.full(own, 1 / own)).astype(np.float32)
        for problem, own in enumerate(seeds)
    ]
