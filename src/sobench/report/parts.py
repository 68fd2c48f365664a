"""The parts of a claim's test, one for each metric and rival: a number a seed, and a decision on their mean."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from sobench.errors import UsageError
from sobench.report.evidence import Evidence
from sobench.report.looks import Looks
from sobench.report.many_settings import exponent, robustness
from sobench.report.paired import COUNTED, NONE, SIGN_TEST, T_TEST, Decision, between, interval, needed
from sobench.report.schema.spec import Test
from sobench.results.pick import EXACT

Bounds = tuple[float, float]


@dataclass(frozen=True)
class Part:
    """The test of one metric against one rival (None without rivals).

    sample: the tested number of each seed. effect: its mean; of a ratio the geometric mean, of a share the share.
    low, high: the 95 % confidence interval of the effect, NaN if unknown. bounds: those of a row; tested: those of the
    mean. look: the seeds of the last complete look, where seeds are added by need; the sample is of these. against: the
    number of seeds of which a row is not inside the bounds, where the claim is about every row: one is enough that the
    claim cannot hold.
    """

    metric: str
    rival: str | None
    decision: Decision
    sample: np.ndarray
    effect: float
    low: float
    high: float
    bounds: Bounds
    tested: Bounds
    look: int = 0
    against: int = 0

    @property
    def points_to_holds(self) -> bool:
        """Whether the sample is rather for the claim than against it."""
        return not self.against and self._mean_inside

    @property
    def open(self) -> bool:
        """Whether more seeds can decide this part."""
        return not (self.against and self._mean_inside)

    @property
    def _mean_inside(self) -> bool:
        at_once = between(self.sample, *self.tested)
        return at_once.p_holds <= at_once.p_fails

    def seeds_needed(self, level: float) -> int | None:
        """The number of seeds that would decide this part one way, see `paired.needed`.

        With two bounds, `holds` needs both tests, and `fails` the one of the violated bound.
        """
        sides = [needed(self.sample, bound, level) for bound in self.tested if math.isfinite(bound)]
        found = [seeds for seeds in sides if seeds is not None]
        if self.points_to_holds:
            return max(found) if len(found) == len(sides) else None
        return min(found, default=None)

    def chances(self, level: float, looks: Looks) -> np.ndarray:
        """The probability with which each look alone would decide this part one way; as `seeds_needed` about bounds."""
        sides = [looks.chances(self.sample, bound, level) for bound in self.tested if math.isfinite(bound)]
        return np.min(sides, axis=0) if self.points_to_holds else np.max(sides, axis=0)


class Undefined(UsageError):
    """A tested number that is not defined: the logarithm of a number that is not positive."""


def parts(evidence: Evidence, test: Test) -> list[Part]:
    """All parts. A claim holds if every part does. Raises Undefined."""
    return [
        _part(evidence, test, metric, rival, bounds)
        for metric in test.metrics
        for rival in (test.rivals or [None])
        for bounds in _sides(test)
    ]


def _sides(test: Test) -> list[Bounds]:
    """The bounds (low, high) of each part; two parts for `within` of every row, one for each bound."""
    if test.kind == "compare" or (test.kind == "share" and test.rivals):
        return [(-math.inf, 0.0) if test.better == "lower" else (0.0, math.inf)]
    low, high = test.within or (test.at_least, test.at_most)
    low = -math.inf if low is None else low
    high = math.inf if high is None else high
    if test.kind == "ratio":
        low, high = _log_bound(low), _log_bound(high)
    return [(low, math.inf), (-math.inf, high)] if test.within and test.at == "every" else [(low, high)]


def _log_bound(bound: float) -> float:
    """The logarithm of a bound on a ratio; of an open bound the infinity of its side."""
    return math.log(bound) if 0 < bound < math.inf else math.copysign(math.inf, bound - 1)


def _part(evidence: Evidence, test: Test, metric: str, rival: str | None, bounds: Bounds) -> Part:
    numbers = _numbers(evidence, test, metric, rival, bounds)
    tested = (test.share, math.inf) if test.share is not None else bounds
    exact, look = metric in EXACT and not test.reach, 0
    if evidence.looks is None:
        sample = np.array(list(numbers.values()))
        decision = between(sample, *tested, exact=exact)
    else:
        complete = _complete_looks(evidence, evidence.looks, test, rival)
        samples = [np.array([numbers[seed] for seed in seeds if seed in numbers]) for seeds in complete]
        sample, look = (samples[-1], len(complete[-1])) if samples else (np.array([]), 0)
        decision = evidence.looks.decide(samples, *tested, exact=exact)
    with np.errstate(invalid="ignore"):  # inf - inf: each diverged for some seed
        effect = float(sample.mean()) if len(sample) else math.nan
    shown_as = np.exp if test.kind == "ratio" else np.asarray
    effect, low, high = (float(shown_as(number)) for number in (effect, *interval(sample)))
    if test.kind == "ratio" and effect == 0:  # the rival diverged: the logarithm of the ratio has no lower bound
        effect = -math.inf
    against = _against(test, sample, *bounds) if test.at == "every" else 0
    if against:
        decision = replace(decision, p_holds=1.0)
    return Part(metric, rival, decision, sample, effect, low, high, bounds, tested, look, against)


def _against(test: Test, sample: np.ndarray, low: float, high: float) -> int:
    """The number of values outside of the bounds; a tie with a rival is outside, a pair that diverged (NaN) is not."""
    outside = (sample < low) | (sample > high)
    return int((outside | ((sample == 0) & (test.kind == "compare"))).sum())


def _complete_looks(evidence: Evidence, looks: Looks, test: Test, rival: str | None) -> list[list[int]]:
    """The seeds of each look that is complete: every run of them, of the subject and the rival, is over."""
    runs = [run for method in (test.subject, rival) if method for run in evidence.fitting(method, test.where)]
    over: dict[str, set[int]] = {run.cell: set() for run in runs}
    asked: dict[str, set[int]] = {run.cell: set() for run in runs}
    for run in runs:
        asked[run.cell].add(run.seed)
        if evidence.results.states[run.id].finished:
            over[run.cell].add(run.seed)
    seeds = sorted(set.intersection(*asked.values())) if asked else []
    ready = set.intersection(*over.values()) if over else set()
    by_look = [seeds[:number] for number in looks.numbers if number <= len(seeds)]
    return [of_look for of_look in by_look if ready.issuperset(of_look)]


def _numbers(evidence: Evidence, test: Test, metric: str, rival: str | None, bounds: Bounds) -> dict[int, float]:
    """The number of each seed that both the subject and the rival have, in order of the seeds."""
    ours = _outcomes(evidence, test, metric, test.subject)
    theirs = ours if rival is None else _outcomes(evidence, test, metric, rival)
    numbers = {}
    for seed in sorted(ours.keys() & theirs.keys()):
        rows = _rows(test, ours[seed], None if rival is None else theirs[seed])
        if len(rows):
            numbers[seed] = _number(test, rows, *bounds)
    return numbers


def _outcomes(evidence: Evidence, test: Test, metric: str, method: str) -> Mapping[int, float | pd.Series]:
    if test.kind == "robust":
        return robustness(evidence, test, metric, method)
    if test.growth:
        return exponent(evidence, test, metric, method).by_seed
    outcomes = evidence.outcomes(test, metric, method)
    if test.kind == "ratio":
        _require_positive(evidence, test, metric, method, outcomes)
    return outcomes


def _require_positive(
    evidence: Evidence, test: Test, metric: str, method: str, outcomes: Mapping[int, float | pd.Series]
) -> None:
    """Raises Undefined for a value without a logarithm, with the run that has it."""
    runs = {run.seed: run for run in evidence.runs(method, test.where)}
    for seed, values in outcomes.items():
        numbers = np.atleast_1d(np.asarray(values, dtype=float))
        lowest = float(np.min(numbers, initial=math.inf, where=np.isfinite(numbers)))
        if lowest <= 0:
            raise Undefined(
                f"{metric.replace('{method}', method)} of run {runs[seed].slug} is {shown(lowest)}: "
                "a ratio needs numbers above 0"
            )


def _rows(test: Test, ours: float | pd.Series, theirs: float | pd.Series | None) -> np.ndarray:
    """The tested numbers of a seed: one for each step that both have, or one.

    A run that diverged has one infinity in place of its rows, which counts for every step.
    """
    if theirs is None:
        return np.atleast_1d(ours)
    if isinstance(ours, pd.Series) and isinstance(theirs, pd.Series):
        ours, theirs = ours.align(theirs, join="inner")
    left, right = np.atleast_1d(np.asarray(ours)), np.atleast_1d(np.asarray(theirs))
    with np.errstate(invalid="ignore", divide="ignore"):  # inf - inf is NaN: both diverged
        return _log(left) - _log(right) if test.kind == "ratio" else left - right


def _number(test: Test, rows: np.ndarray, low: float, high: float) -> float:
    """The number of a seed, from its rows: the share inside the bounds, the worst row, or the only one."""
    if test.kind == "share":
        inside = (rows >= low) & (rows <= high)
        inside &= rows != 0 if test.rivals else True  # a tie with a rival is not better
        return float(inside[~np.isnan(rows)].mean()) if not np.isnan(rows).all() else math.nan
    return float(rows.max() if math.isfinite(high) else rows.min()) if test.at == "every" else float(rows[0])


def _log(values: np.ndarray) -> np.ndarray:
    """The logarithm; an infinity stays the same infinity, so that the worst value stays the worst."""
    finite = ~np.isinf(values)
    return np.where(finite, np.log(np.where(finite, values, 1.0)), values)


def named(test: Test, part: Part) -> str:
    """The name of the statistical test that decided a part."""
    name = part.decision.test
    if part.rival is None or name not in (T_TEST, SIGN_TEST):
        return name
    if test.kind == "share":
        return f"{name} of shares"
    paired = f"paired {name}" if name == T_TEST else name
    return f"{paired} of log ratios" if test.kind == "ratio" else paired


@dataclass(frozen=True)
class Detail:
    """A part in words, as "kbfgs minus adam: mean difference -0.3, p = 0.01, n = 5".

    what: "kbfgs minus adam: mean difference". effect: with its interval. against: what contradicts the claim, or "".
    """

    what: str
    effect: str
    p: str
    n: int
    against: str

    def __str__(self) -> str:
        against = f", {self.against}" if self.against else ""
        return f"{self.what} {self.effect}, p = {self.p}, n = {self.n}{against}"


def described(test: Test, part: Part) -> Detail:
    """The part in words."""
    against = {
        "compare": f"minus {part.rival}: mean difference",
        "ratio": f"over {part.rival}: geometric mean",
        "bound": "mean",
        "robust": f"share of settings within {test.times or 0:g} times the best",
        "share": f"share of rows better than {part.rival}" if part.rival else "share of rows",
    }[test.kind]
    metric = f", {part.metric.replace('{method}', test.subject)}" if len(test.metrics) > 1 else ""
    growth = f", exponent over {test.growth}" if test.growth else ""
    place = f" of the {'highest' if math.isfinite(part.bounds[1]) else 'lowest'} row" if test.at == "every" else ""
    return Detail(
        f"{test.subject}{metric}{growth} {against}{place}",
        shown(part.effect) + shown_interval(part.low, part.high),
        shown_p(part.decision),
        part.decision.n,
        contradiction(part) if part.against else "",
    )


def contradiction(part: Part) -> str:
    """ "a row of 1 of 12 seeds contradicts it" """
    return f"a row of {part.against} of {len(part.sample)} seeds contradicts it"


def shown_p(decision: Decision) -> str:
    """The p value of "holds"; a dash without a test."""
    return "–" if decision.test in (NONE, COUNTED) else shown(decision.p_holds)


def shown_interval(low: float, high: float) -> str:
    """ " [-0.4, -0.2]", or nothing if the interval is unknown."""
    return "" if math.isnan(low) else f" [{shown(low)}, {shown(high)}]"


def shown(value: float) -> str:
    """The value with three significant digits; words for NaN and infinity."""
    if math.isnan(value):
        return "undefined"
    return f"{value:.3g}" if math.isfinite(value) else "unbounded"
