"""What would decide an undecided pair of methods: further seeds or problems, and the time of training they take."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sobench.report.comparison.analysis import Pair
from sobench.report.comparison.bootstrap import FEWEST_PROBLEMS
from sobench.report.comparison.study import Problem, Study
from sobench.report.comparison.verdict import FEW_SEEDS, NAMES, UNDECIDED, answer, interval
from sobench.report.holm import ALPHA
from sobench.report.paired import needed
from sobench.system.text import format_duration, plural


@dataclass(frozen=True)
class Undecided:
    """A pair that is undecided on an axis, and what would decide it if the truth is what the runs show.

    count: how many more, of problems or of seeds (of each problem, if `each`); None if no number would. seconds: the
    time of training that they take, NaN if it is not known.
    """

    pair: Pair
    axis: str
    count: int | None
    noun: str = "seed"
    each: bool = False
    seconds: float = math.nan

    @property
    def contradicts(self) -> bool:
        """Whether the ratio is sure, and the seeds contradict it."""
        return self.pair.adjusted < ALPHA

    @property
    def sentence(self) -> str:
        """ "kfac, undecided by work: about 2 more seeds of each problem would decide it (20 s of training)." """
        if self.contradicts:
            about = (
                f"the ratio {self.pair.ratio.mean:.3g}{interval(self.pair)} and P(faster) {self.pair.better.mean:.3g} "
                "contradict each other"
            )
        elif self.count is None:
            about = "the runs show no difference that more would decide"
        else:
            time = "" if math.isnan(self.seconds) else f" ({format_duration(self.seconds)} of training)"
            of_each = " of each problem" if self.each else ""
            about = f"about {plural(self.count, f'more {self.noun}')}{of_each} would decide it{time}"
        return f"{self.pair.method}, undecided by {NAMES[self.axis]}: {about}."

    @property
    def brief(self) -> str:
        """ "2 more seeds, 20 s", "no difference", "contradictory" """
        if self.contradicts:
            return "contradictory"
        if self.count is None:
            return "no difference"
        time = "" if math.isnan(self.seconds) else f", {format_duration(self.seconds)}"
        return f"{plural(self.count, f'more {self.noun}')}{time}"


def undecided(study: Study, axis: str, pairs: Sequence[Pair]) -> list[Undecided]:
    """The undecided ones of the pairs."""
    return [_of(study, axis, pair) for pair in pairs if answer(pair) == UNDECIDED]


def cheapest(found: Sequence[Undecided]) -> list[Undecided]:
    """Those that further seeds or problems would decide, those that take the least time of training first."""
    return sorted(
        (one for one in found if one.count is not None),
        key=lambda one: (math.isnan(one.seconds), one.seconds, one.count),
    )


def _of(study: Study, axis: str, pair: Pair) -> Undecided:
    if pair.adjusted < ALPHA:
        return Undecided(pair, axis, None)
    samples = [_log_ratios(problem, axis, pair.method, study.baseline) for problem in study.problems]
    samples = [sample for sample in samples if len(sample)]
    level = ALPHA / 2 / len(study.rivals)  # two sides; Holm's method asks this of the first method
    by_problem = len(samples) >= FEWEST_PROBLEMS
    have, enough = _problems(samples, level) if by_problem else _seeds(samples, level)
    if enough is None:
        return Undecided(pair, axis, None)
    count = max(1, enough - have)
    seconds = sum(problem.entries[name].seconds for problem in study.problems for name in (pair.method, study.baseline))
    if by_problem:
        seconds *= float(np.mean([len(sample) for sample in samples])) / len(samples)
        return Undecided(pair, axis, count, "problem", seconds=count * seconds)
    return Undecided(pair, axis, count, each=len(samples) > 1, seconds=count * seconds)


def _problems(samples: Sequence[np.ndarray], level: float) -> tuple[int, int | None]:
    """The number of problems, and the number that would decide at this level; None if none would."""
    return len(samples), needed(np.array([sample.mean() for sample in samples]), 0.0, level)


def _seeds(samples: Sequence[np.ndarray], level: float) -> tuple[int, int | None]:
    """The seeds of the problem with the fewest, and the number for each problem that would decide at this level.

    The seeds of all problems are taken as one sample, with the spread that they have within the problems.
    """
    if not samples:
        return 0, None
    centre = float(np.mean([sample.mean() for sample in samples]))
    total = needed(np.concatenate([sample - sample.mean() + centre for sample in samples]), 0.0, level)
    enough = None if total is None else max(FEW_SEEDS, -(-total // len(samples)))
    return min(map(len, samples)), enough


def _log_ratios(problem: Problem, axis: str, method: str, baseline: str) -> np.ndarray:
    ours, theirs = (np.minimum(times, problem.horizon(axis)) for times in problem.paired(axis, method, baseline))
    return np.log(ours) - np.log(theirs)
