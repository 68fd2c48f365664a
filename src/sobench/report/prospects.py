"""The runs that undecided claims still need: which, for how long, and with what chance to decide."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from sobench.report.claims import UNDECIDED, Verdict
from sobench.report.evidence import Evidence
from sobench.report.looks import Need
from sobench.report.paired import POWER
from sobench.report.schema.spec import Claim
from sobench.results.state import KEEPS

Place = tuple[str, int]
"""A run to make: its cell and its seed."""


@dataclass(frozen=True)
class Step:
    """The runs that bring a claim to a look; those of them that have no result yet, with the seconds that they take."""

    claim: Claim
    number: int
    runs: frozenset[Place]
    missing: frozenset[Place]
    seconds: float


@dataclass(frozen=True)
class Prospects:
    """The claims of a report that seeds can still decide.

    verdicts: by the looks of the evidence. seeds: those of the last look, in their order; each look takes the first.
    made: runs that have a result and are not in the evidence, as they were made for something else.
    """

    evidence: Evidence
    verdicts: Sequence[Verdict]
    seeds: Sequence[int]
    made: frozenset[Place] = frozenset()

    @property
    def undecided(self) -> list[Verdict]:
        return [verdict for verdict in self.verdicts if verdict.verdict == UNDECIDED]

    def enough(self, verdict: Verdict) -> Step | None:
        """The step to the first look that decides the claim with probability POWER; None if no look does."""
        number = verdict.need and verdict.need.enough(POWER)
        return self._step(verdict.claim, verdict.need, number) if verdict.need and number else None

    def next_steps(self) -> list[Step]:
        """The step of each claim to its next look, the best chance per second first; of no chance, the cheapest first.

        The chance per second is the largest over the looks that are left.
        """
        ranked = []
        for verdict in self.undecided:
            if verdict.need and verdict.need.chances:
                steps = {n: self._step(verdict.claim, verdict.need, n) for n in sorted(verdict.need.chances)}
                rates = [verdict.need.chances[n] / max(step.seconds, 1e-9) for n, step in steps.items()]
                step = next(iter(steps.values()))
                ranked.append((-max(rates), step.seconds, step))
        return [step for _, _, step in sorted(ranked, key=lambda entry: entry[:2])]

    def seconds(self, runs: Iterable[Place]) -> float:
        """The time of these runs one after the other, by the mean of the recorded runs of each cell."""
        return sum(self._seconds.get(cell, self._mean) for cell, _ in runs)

    def _step(self, claim: Claim, need: Need, number: int) -> Step:
        runs = [run for method in need.methods for run in self.evidence.fitting(method, claim.test.where)]
        over = {(run.cell, run.seed) for run in runs if self.evidence.results.states[run.id].finished}
        wanted = {(cell, seed) for cell in {run.cell for run in runs} for seed in self.seeds[:number]}
        new = frozenset(wanted - over)
        missing = new - self.made
        return Step(claim, number, new, missing, self.seconds(missing))

    @cached_property
    def _seconds(self) -> dict[str, float]:
        by_cell: dict[str, list[float]] = {}
        for run in self.evidence.results.runs:
            state = self.evidence.results.states[run.id]
            if state.status in KEEPS:
                by_cell.setdefault(run.cell, []).append(state.spent_seconds)
        return {cell: float(np.mean(seconds)) for cell, seconds in by_cell.items()}

    @cached_property
    def _mean(self) -> float:
        """The time of a run of a cell that has no result."""
        return float(np.mean(list(self._seconds.values()))) if self._seconds else math.nan
