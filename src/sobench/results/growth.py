"""The growth of a metric with a setting: the exponent p of metric = c * setting^p, by least squares in logarithms."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from sobench.results.aggregate import Aggregate


@dataclass(frozen=True)
class Growth:
    """The fit over all runs of a method. The names are those of `Aggregate`, so that a table shows either.

    mean: the exponent. stderr: the standard error of the slope (NaN below three points); it includes both the scatter
    of the seeds and the deviation from a power law. found, expected: numbers of runs. by_seed: the exponent of each
    seed that has every size.
    """

    mean: float
    stderr: float
    found: int
    expected: int
    by_seed: dict[int, float] = field(default_factory=dict)
    gaps: dict[str, int] = field(default_factory=dict)

    @property
    def diverged(self) -> int:
        return self.gaps.get("diverged", 0)

    @property
    def gap(self) -> str:
        """ "diverged 1/15, missing 1/15"; empty if every run is there."""
        return ", ".join(f"{reason} {count}/{self.expected}" for reason, count in self.gaps.items())


def growth(sizes: Mapping[float, Aggregate]) -> Growth:
    """The exponent from the aggregate of the seeds at each size.

    Values that are not positive have no logarithm: they are left out of the fit and counted as gaps ("not positive").
    """
    gaps: Counter[str] = Counter()
    points: list[tuple[int, float, float]] = []  # seed, size, value
    for size, at_size in sizes.items():
        gaps.update(at_size.gaps)
        positive = [(seed, size, value) for seed, value in at_size.values.items() if value > 0]
        if len(positive) < at_size.found:
            gaps["not positive"] += at_size.found - len(positive)
        points += positive
    slope, error = _fit([(size, value) for _, size, value in points])
    if len({size for _, size, _ in points}) == 1:
        gaps["one size"] = len(points)
    per_seed: dict[int, list[tuple[float, float]]] = {}
    for seed, size, value in points:
        per_seed.setdefault(seed, []).append((size, value))
    by_seed = {seed: _fit(own)[0] for seed, own in sorted(per_seed.items()) if len(own) == len(sizes) > 1}
    expected = sum(at_size.expected for at_size in sizes.values())
    return Growth(slope, error, len(points), expected, by_seed, dict(sorted(gaps.items())))


def _fit(points: list[tuple[float, float]]) -> tuple[float, float]:
    """The slope of log value on log size, and its standard error; NaN with too few points for either."""
    if len({size for size, _ in points}) < 2:
        return math.nan, math.nan
    x, y = np.log(np.array(points)).T
    x, y = x - x.mean(), y - y.mean()
    slope = float(x @ y / (x @ x))
    residual = y - slope * x
    error = math.sqrt(float(residual @ residual) / (len(points) - 2) / float(x @ x)) if len(points) > 2 else math.nan
    return slope, error
