"""The numbers of a comparison on one axis, from the times to the target: pairwise, by rank, and by their stability.

A time is cut at the horizon, the place up to which every method was run: a seed that did not reach the target counts as
if it had reached it there. So a mean is over all seeds, and a ratio of two times errs towards 1 (the restricted mean of
P. Royston and M. K. B. Parmar, Restricted mean survival time, BMC Medical Research Methodology 13:152, 2013).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from sobench.report.comparison import profiles
from sobench.report.comparison.bootstrap import FEWEST_PROBLEMS, PROBLEMS, Estimate, estimate
from sobench.report.comparison.study import EASIER, HARDER, SHIFT, Study
from sobench.report.comparison.survival import Reached, reached
from sobench.report.holm import ALPHA, holm
from sobench.report.paired import between

WIN, TIE, LOSS = "win", "tie", "loss"
WITHOUT = "without "
"""What begins the words of a change that leaves a problem or a method out."""


@dataclass(frozen=True)
class Pair:
    """A rival beside the baseline on one axis.

    ratio: the geometric mean over problems of the ratio of the times, rival over baseline, with its interval; below 1
    the rival is faster. better: the probability that the rival is faster on a seed, ties counted half. by_problem: WIN,
    TIE or LOSS of the rival on each problem. bounds: the pairs in which one of the two did not reach the target, so
    that the ratio is a bound; open: those in which neither did; pairs: all. p: of the exact Wilcoxon signed-rank test
    over problems, two sides; below FEWEST_PROBLEMS that of the bootstrap over seeds. adjusted: by Holm's method over
    the rivals.
    """

    method: str
    ratio: Estimate
    better: Estimate
    by_problem: dict[str, str]
    ratios: dict[str, float]
    bounds: int
    open: int
    pairs: int
    p: float
    adjusted: float = math.nan

    def count(self, outcome: str) -> int:
        return list(self.by_problem.values()).count(outcome)


@dataclass(frozen=True)
class Rank:
    """The place of a method by its score, from 1.

    moves: by the change, in words, the rank before and after it, both among the methods that are left.
    """

    method: str
    score: float
    rank: int
    moves: dict[str, tuple[int, int]] = field(default_factory=dict)


@dataclass(frozen=True)
class OnAxis:
    """All numbers on one axis. summaries: by problem and method. level: of the problem, which methods reach."""

    axis: str
    summaries: dict[str, dict[str, Reached]]
    pairs: list[Pair]
    profiles: profiles.Profiles
    ranks: list[Rank]


def on_axis(study: Study, axis: str) -> OnAxis:
    """All numbers on one axis."""
    summaries = {
        problem.name: {
            method: reached(problem.times(axis, method), problem.horizon(axis) * (1 + 1e-9)) for method in study.methods
        }
        for problem in study.problems
    }
    of_all = [problem.all_times(axis) for problem in study.problems]
    return OnAxis(axis, summaries, pairs(study, axis), profiles.profiles(of_all), ranks(study, axis))


# Pairwise


def pairs(study: Study, axis: str) -> list[Pair]:
    """Each rival beside the baseline, with p values adjusted over the rivals."""
    found = [pair(study, axis, rival) for rival in study.rivals]
    known = [i for i, one in enumerate(found) if not math.isnan(one.p)]
    for i, adjusted in zip(known, holm(np.array([found[i].p for i in known])), strict=True):
        found[i] = replace(found[i], adjusted=float(adjusted))
    return found


def pair(study: Study, axis: str, rival: str) -> Pair:
    """One rival beside the baseline."""
    logs, faster, outcomes, ratios, one_missed, both_missed, count = [], [], {}, {}, 0, 0, 0
    for problem in study.problems:
        ours, theirs = problem.paired(axis, rival, study.baseline)
        horizon = problem.horizon(axis)
        log = np.log(np.minimum(ours, horizon)) - np.log(np.minimum(theirs, horizon))
        logs.append(log)
        faster.append(np.where(ours == theirs, 0.5, ours < theirs))
        outcomes[problem.name] = _outcome(log)
        ratios[problem.name] = math.exp(log.mean()) if len(log) else math.nan
        missed = np.isinf(ours).astype(int) + np.isinf(theirs)
        one_missed += int((missed == 1).sum())
        both_missed += int((missed == 2).sum())
        count += len(log)
    ratio = estimate(logs)
    as_ratio = replace(ratio, mean=math.exp(ratio.mean), low=math.exp(ratio.low), high=math.exp(ratio.high))
    p = wilcoxon(logs) if ratio.over == PROBLEMS else ratio.p
    return Pair(
        rival,
        as_ratio,
        _within_0_and_1(estimate(faster)),
        outcomes,
        ratios,
        one_missed,
        both_missed,
        count,
        p,
    )


def _within_0_and_1(share: Estimate) -> Estimate:
    return replace(share, low=max(0.0, share.low), high=min(1.0, share.high)) if share.known else share


def _outcome(log_ratios: np.ndarray) -> str:
    """Whether a rival is faster on one problem: by the paired test of `sobench.report.paired`, at 2.5 % a side."""
    decision = between(log_ratios, high=0.0)
    if decision.p_holds < ALPHA / 2:
        return WIN
    return LOSS if decision.p_fails < ALPHA / 2 else TIE


def wilcoxon(sample: Sequence[np.ndarray]) -> float:
    """The exact p value of "the problems' means lie symmetrically about zero"; NaN with too few problems.

    The sum of the ranks of the positive means is compared with its distribution over all signs (F. Wilcoxon,
    Individual comparisons by ranking methods, Biometrics Bulletin 1, 1945, 80-83; for problems as in J. Demsar,
    Statistical Comparisons of Classifiers over Multiple Data Sets, JMLR 7, 2006, 1-30). Ties have the mean of their
    ranks. Zeros are ranked and then left out (J. W. Pratt, JASA 54, 1959, 655-667).
    """
    means = np.array([numbers.mean() for numbers in sample if len(numbers)])
    if len(means) < FEWEST_PROBLEMS or not means.any():
        return math.nan
    twice = _twice_the_ranks(np.abs(means))
    ways = np.ones(1)  # by twice the sum of the ranks: the share of the signs that give it
    for rank in twice[means != 0]:
        ways = (np.append(ways, np.zeros(rank)) + np.append(np.zeros(rank), ways)) / 2
    total = int(twice[means > 0].sum())
    return min(1.0, 2 * min(float(ways[: total + 1].sum()), float(ways[total:].sum())))


def _twice_the_ranks(sizes: np.ndarray) -> np.ndarray:
    """Twice the rank of each number, from 1, which is whole; sizes that agree within rounding are ties."""
    order = np.argsort(sizes, kind="stable")
    new = np.append(True, np.diff(sizes[order]) > 1e-12 * sizes.max())
    _, first, count = np.unique(np.cumsum(new), return_index=True, return_counts=True)
    twice = np.empty(len(sizes), dtype=int)
    twice[order] = np.repeat(2 * first + count + 1, count)
    return twice


# Ranks


def ranks(study: Study, axis: str) -> list[Rank]:
    """The methods by their score, the best first; each with the moves that small changes of the comparison make."""
    times = [problem.all_times(axis) for problem in study.problems]
    by_problem = profiles.scores(times)
    own = _by_method(study.methods, by_problem.mean(axis=0))
    moves: dict[str, dict[str, tuple[int, int]]] = {method: {} for method in study.methods}
    for change, changed in _changes(study, axis, times, by_problem).items():
        before = _ranks({method: own[method] for method in changed})
        for method, rank in _ranks(changed).items():
            if rank != before[method]:
                moves[method][change] = before[method], rank
    found = [Rank(method, own[method], rank, moves[method]) for method, rank in _ranks(own).items()]
    return sorted(found, key=lambda one: one.rank)


def _by_method(methods: Sequence[str], values: np.ndarray) -> dict[str, float]:
    return dict(zip(methods, map(float, values), strict=True))


def _ranks(scores: Mapping[str, float]) -> dict[str, int]:
    """The rank of each method, from 1; methods of the same score share the better rank."""
    return {method: 1 + sum(other > score + 1e-9 for other in scores.values()) for method, score in scores.items()}


def _changes(
    study: Study, axis: str, times: Sequence[np.ndarray], by_problem: np.ndarray
) -> dict[str, dict[str, float]]:
    """The scores without one problem, without one method, and with an easier or a harder target, by change in words.

    times: of each problem, those of all methods [methods, seeds]. by_problem: the scores [problems, methods].
    """
    changes = {}
    if len(study.problems) > 1:
        for place, left_out in enumerate(study.problems):
            rest = np.delete(by_problem, place, axis=0).mean(axis=0)
            changes[f"{WITHOUT}{left_out.name}"] = _by_method(study.methods, rest)
    if len(study.methods) > 2:
        for place, removed in enumerate(study.methods):
            methods = [method for method in study.methods if method != removed]
            rest = profiles.scores([np.delete(of_problem, place, axis=0) for of_problem in times]).mean(axis=0)
            changes[f"{WITHOUT}{removed}"] = _by_method(methods, rest)
    for level in (EASIER, HARDER):
        moved = profiles.scores([problem.all_times(axis, level) for problem in study.problems]).mean(axis=0)
        changes[f"with a target {SHIFT:.0%} {level}"] = _by_method(study.methods, moved)
    return changes
