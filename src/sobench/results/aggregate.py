"""Statistics over seeds. Runs that are not in the mean are counted as gaps beside it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sobench.results.state import State

if TYPE_CHECKING:
    from sobench.config.run import Run


@dataclass(frozen=True)
class Aggregate:
    """Statistics over the seeds of one cell.

    values: by seed, the finite values of the runs that finished; the mean is over these alone. stderr: the sample
    standard deviation over sqrt(n), NaN below two values. gaps: by reason, the number of expected runs that are not
    `done` or have no finite value ("not finite", "not reached", "not recorded").
    """

    values: dict[int, float]
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

    diverged: include the values of diverged runs in the mean (for costs, which every run has); they are counted as gaps
    too. infinite: the name of the gap of a value that is not finite.
    """
    finite: dict[int, float] = {}
    gaps: Counter[str] = Counter()
    for run in runs:
        status = states[run.id].status
        if status != "done":
            gaps[status] += 1
        if status != "done" and not (diverged and status == "diverged"):
            continue
        value = values.get(run.id, math.nan)
        if math.isfinite(value):
            finite[run.seed] = float(value)
        elif status == "done":
            gaps["not recorded" if run.id not in values or math.isnan(value) else infinite] += 1
    return Aggregate(dict(sorted(finite.items())), len(runs), dict(sorted(gaps.items())))
