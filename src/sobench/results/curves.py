"""Mean and standard error over seeds along an x-axis."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from sobench.results.pick import column

if TYPE_CHECKING:
    from sobench.results.row_table import Table

POINTS = 1000  # of a curve, at most


def curve(rows: Table, x: str, y: str, *, smooth: float | None = None, by_epoch: bool = False) -> pd.DataFrame:
    """The columns x, mean, stderr, n over the runs of `rows` (one kind), within the range of x that every run covers.

    Runs that recorded different x (seconds) are interpolated linearly; nothing is extrapolated. smooth: y is first
    averaged over the last `smooth` steps, run by run. by_epoch: y is first averaged over the rows of each epoch, and x
    is the number of the epoch, from 1.
    """
    all_series = _epochs(rows, y) if by_epoch else _series(rows, x, y, smooth)
    series = [(xs, ys) for xs, ys in all_series if len(xs)]
    if not series:
        return pd.DataFrame({"x": [], "mean": [], "stderr": [], "n": []}, dtype=float)
    grid = _grid([xs for xs, _ in series])
    values = np.array([np.interp(grid, xs, ys) for xs, ys in series])  # [runs, points]
    n = len(series)
    stderr = values.std(axis=0, ddof=1) / np.sqrt(n) if n > 1 else np.full(len(grid), np.nan)
    return pd.DataFrame({"x": grid, "mean": values.mean(axis=0), "stderr": stderr, "n": n})


def without_value(rows: Table, y: str) -> int:
    """The number of rows without a finite value of y, which means leave out."""
    return int((~np.isfinite(column(rows, y).to_numpy(float))).sum())


def _series(rows: Table, x: str, y: str, smooth: float | None) -> list[tuple[np.ndarray, np.ndarray]]:
    """(x, y) of each run where both are finite, in ascending order of x."""
    xs, ys, steps = column(rows, x).to_numpy(float), column(rows, y).to_numpy(float), rows["step"].to_numpy(float)
    runs = _by_run(rows, np.isfinite(xs) & np.isfinite(ys))
    return [(xs[own], trailing_mean(steps[own], ys[own], smooth) if smooth else ys[own]) for own in runs]


def _epochs(rows: Table, y: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """(epoch, mean of its finite values) of each run; epochs without any are left out.

    A row belongs to the epoch of its last step: a row at epoch 1.0 ends the first epoch.
    """
    values = column(rows, y).to_numpy(float)
    epochs = np.ceil(rows["epoch"].to_numpy(float) - 1e-9)
    return [_means(epochs[own], values[own]) for own in _by_run(rows, np.isfinite(values))]


def _means(places: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct places, and the mean of the values at each."""
    distinct, numbers = np.unique(places, return_inverse=True)
    sums = np.bincount(numbers, weights=values, minlength=len(distinct))
    return distinct, sums / np.bincount(numbers, minlength=len(distinct))


def _by_run(rows: Table, keep: np.ndarray) -> list[np.ndarray]:
    """The numbers of the rows of each run, of those rows to keep."""
    runs = pd.factorize(rows["run"].array, sort=True)[0]
    order = np.argsort(runs, kind="stable")
    order = order[keep[order]]
    return np.split(order, np.flatnonzero(np.diff(runs[order])) + 1)


def trailing_mean(steps: np.ndarray, values: np.ndarray, window: float) -> np.ndarray:
    """The mean of the values recorded in the last `window` steps, (s - window, s]; of fewer at the start."""
    total = np.concatenate([[0.0], np.cumsum(values)])
    first = np.searchsorted(steps, steps - window, side="right")
    last = np.arange(1, len(steps) + 1)
    return (total[last] - total[first]) / (last - first)


def _grid(xs: list[np.ndarray]) -> np.ndarray:
    """Every x recorded in the range that all runs cover; between these the mean of the curves is linear."""
    grid = np.unique(np.concatenate(xs))
    grid = grid[(grid >= max(x[0] for x in xs)) & (grid <= min(x[-1] for x in xs))]
    return grid[np.linspace(0, len(grid) - 1, POINTS).round().astype(int)] if len(grid) > POINTS else grid
