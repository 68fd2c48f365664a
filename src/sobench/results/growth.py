"""How a metric grows with a setting: the exponent p of metric = c * setting^p, by least squares in logarithms."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from sobench.results.aggregate import Aggregate


@dataclass(frozen=True)
class Growth:
    """The fit over all runs of a method; the names are those of `Aggregate`, so that a table shows either.

    mean is the exponent, stderr the standard error of the slope (NaN below three points): it holds what the seeds scatter
    and what a power law does not fit. found and expected count runs. by_seed: the exponent of each seed that has every size.
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
    """The exponent from the aggregate of the seeds at each size. A value that is not positive has no logarithm: it is left
    out of the fit and counted among the gaps ("not positive")."""
    gaps: Counter[str] = Counter()
    points: list[tuple[int, float, float]] = []  # seed, size, value
    for size, found in sizes.items():
        gaps.update(found.gaps)
        gaps.update({"not positive": bad} if (bad := sum(value <= 0 for value in found.values.values())) else {})
        points += [(seed, size, value) for seed, value in found.values.items() if value > 0]
    slope, error = _fit([(size, value) for _, size, value in points])
    if len({size for _, size, _ in points}) == 1:
        gaps["one size"] = len(points)
    per_seed = {seed: [(s, v) for of, s, v in points if of == seed] for seed, _, _ in points}
    by_seed = {seed: _fit(own)[0] for seed, own in sorted(per_seed.items()) if len(own) == len(sizes) > 1}
    expected = sum(found.expected for found in sizes.values())
    return Growth(slope, error, len(points), expected, by_seed, dict(sorted(gaps.items())))


def _fit(points: list[tuple[float, float]]) -> tuple[float, float]:
    """Slope and its standard error of log value on log size; NaN where there are too few points for either."""
    if len({size for size, _ in points}) < 2:
        return math.nan, math.nan
    x, y = np.log(np.array(points)).T
    x, y = x - x.mean(), y - y.mean()
    slope = float(x @ y / (x @ x))
    residual = y - slope * x
    error = math.sqrt(float(residual @ residual) / (len(points) - 2) / float(x @ x)) if len(points) > 2 else math.nan
    return slope, error
