"""Statistics over seeds that hide no gap: what is not in the mean is counted beside it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sobench.results.collection import Run
from sobench.results.state import State


@dataclass(frozen=True)
class Aggregate:
    """Over the seeds of one cell. The mean is over `values` alone: the finite ones of the runs that finished.

    stderr is the sample standard deviation over sqrt(n), NaN below two values. `gaps` counts, by reason, the expected
    runs that are not `done` or have no finite value ("not finite", "not reached", "not recorded").
    """

    values: dict[int, float]  # seed -> value
    expected: int
    gaps: dict[str, int] = field(default_factory=dict)

    @property
    def found(self) -> int:
        return len(self.values)

    @property
    def diverged(self) -> int:
        return self.gaps.get("diverged", 0)

    @property
    def failed(self) -> int:
        return self.gaps.get("failed", 0)

    @property
    def mean(self) -> float:
        return math.fsum(self.values.values()) / self.found if self.values else math.nan

    @property
    def stderr(self) -> float:
        if self.found < 2:
            return math.nan
        mean = self.mean
        return math.sqrt(math.fsum((v - mean) ** 2 for v in self.values.values()) / (self.found - 1) / self.found)

    @property
    def gap(self) -> str:
        """ "diverged 1/3, missing 1/3"; empty if every seed is there."""
        return ", ".join(f"{reason} {count}/{self.expected}" for reason, count in self.gaps.items())


def aggregate(
    values: Mapping[str, float],
    runs: Sequence[Run],
    states: Mapping[str, State],
    *,
    diverged: bool = False,
    infinite: str = "not finite",
) -> Aggregate:
    """Aggregate over the expected `runs` of one cell, from the value of each run by id.

    diverged: let the values of diverged runs into the mean too (for costs, which they have like any run); they stay
    counted among the gaps. infinite: the name of the gap that a value which is not finite leaves.
    """
    kept: dict[int, float] = {}
    gaps: Counter[str] = Counter()
    for run in runs:
        status = states[run.id].status
        if status != "done":
            gaps[status] += 1
        if status != "done" and not (diverged and status == "diverged"):
            continue
        value = values.get(run.id, math.nan)
        if math.isfinite(value):
            kept[run.seed] = float(value)
        elif status == "done":
            gaps["not recorded" if run.id not in values or math.isnan(value) else infinite] += 1
    return Aggregate(dict(sorted(kept.items())), len(runs), dict(sorted(gaps.items())))
