"""Mean and standard error over seeds along an x-axis.

The seeds are paired by evaluation: the i-th row of every run is one point of the mean, at the mean of their x. A run
that ended before the others keeps its last value. So every point is a mean over the same runs, and the last point is
the mean of the runs' last values: that of a table's column with `at: last`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

Series = tuple[np.ndarray, np.ndarray, np.ndarray]
"""The places, x and y of one run. Runs are paired by place: the number of the row, or that of the epoch. Both x and y
are NaN where either is not finite."""


def mean(runs: Sequence[Series], *, hold: bool = True) -> pd.DataFrame:
    """The columns x, mean, stderr, n over the series of several runs, paired by place.

    A place where no run has a value is left out. Between two values of a run, a missing one is interpolated linearly;
    a run whose last value is undefined is not in the last means, as in tables. hold: a run that ended keeps its last
    value, at the x of the furthest run, until the last run ends; without it the mean ends with the first run that ends.
    """
    recorded = [one for one in runs if np.isfinite(one[2]).any()]
    if not recorded:
        return pd.DataFrame({"x": [], "mean": [], "stderr": [], "n": []}, dtype=float)
    places = _places(recorded)
    aligned = [_aligned(one, places) for one in recorded]
    if not hold:
        shared = min(length for _, _, length in aligned)
        places, aligned = places[:shared], [(x[:shared], y[:shared], shared) for x, y, _ in aligned]
    xs, ys = np.array([x for x, _, _ in aligned]), np.array([y for _, y, _ in aligned])
    _follow(xs, [length for _, _, length in aligned])
    return _statistics(xs, ys)


def trailing_mean(steps: np.ndarray, values: np.ndarray, window: float) -> np.ndarray:
    """The mean of the values recorded in the last `window` steps, (s - window, s]; of fewer at the start."""
    total = np.concatenate([[0.0], np.cumsum(values)])
    first = np.searchsorted(steps, steps - window, side="right")
    last = np.arange(1, len(steps) + 1)
    return (total[last] - total[first]) / (last - first)


def by_epoch(epochs: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The number of each epoch, from 1, and the mean of the finite values of its rows; epochs without any are left out.

    A row belongs to the epoch of its last step: a row at epoch 1.0 ends the first epoch.
    """
    ok = np.isfinite(values)
    distinct, numbers = np.unique(np.ceil(epochs[ok] - 1e-9), return_inverse=True)
    counts = np.bincount(numbers, minlength=len(distinct))
    return distinct, np.bincount(numbers, weights=values[ok], minlength=len(distinct)) / np.maximum(counts, 1)


def _places(runs: Sequence[Series]) -> np.ndarray:
    """The places where any run has a value, and the end of the longest run if any run's last value is defined."""
    places = np.unique(np.concatenate([place[np.isfinite(y)] for place, _, y in runs]))
    end = max(place[-1] for place, _, _ in runs)
    return np.union1d(places, end) if any(np.isfinite(y[-1]) for _, _, y in runs) else places


def _aligned(one: Series, places: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """x and y of a run at all places, and the number of places up to its end. Beyond its end y is its last value."""
    place, x, y = one
    length = int(np.searchsorted(places, place[-1], side="right"))
    ok = np.isfinite(y)
    inside = (places >= place[ok][0]) & (places <= place[ok][-1])
    at_x, at_y = np.full(len(places), np.nan), np.full(len(places), np.nan)
    at_x[inside] = np.interp(places[inside], place[ok], x[ok])
    at_y[inside] = np.interp(places[inside], place[ok], y[ok])
    at_y[length:] = at_y[length - 1]
    return at_x, at_y, length


def _follow(xs: np.ndarray, lengths: list[int]) -> None:
    """Put each run that has ended at the x of the furthest run, place by place."""
    reached = np.fmax.accumulate(np.fmax.reduce(xs, axis=0))
    for x, length in zip(xs, lengths, strict=True):
        x[length:] = reached[length:]


def _statistics(xs: np.ndarray, ys: np.ndarray) -> pd.DataFrame:
    """Mean and standard error of each column of ys [runs, places], over the runs with a value there."""
    there = np.isfinite(ys)
    n = there.sum(axis=0)
    middle, x = (np.where(there, values, 0.0).sum(axis=0) / n for values in (ys, xs))
    squares = np.where(there, (ys - middle) ** 2, 0.0).sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        stderr = np.where(n > 1, np.sqrt(squares / (n - 1) / n), np.nan)
    return pd.DataFrame({"x": x, "mean": middle, "stderr": stderr, "n": n})
