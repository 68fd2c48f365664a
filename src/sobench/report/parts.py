"""The parts of a claim's test: one for each metric and rival, each a number a seed and the decision on their mean."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from sobench.report.evidence import Evidence
from sobench.report.many_settings import exponent, robustness
from sobench.report.paired import SIGN_TEST, T_TEST, Decision, between
from sobench.report.schema.spec import Test
from sobench.results.pick import EXACT

Bounds = tuple[float, float]


@dataclass(frozen=True)
class Part:
    """The test of one metric against one rival (None where there is none). effect is the mean over the seeds of what is
    tested: of a ratio the geometric mean, of a share the share."""

    metric: str
    rival: str | None
    decision: Decision
    effect: float
    bounds: Bounds


def parts(evidence: Evidence, test: Test) -> list[Part]:
    """All parts; a claim needs every one of them."""
    return [
        _part(evidence, test, metric, rival, bounds)
        for metric in test.metrics
        for rival in (test.rivals or [None])
        for bounds in _sides(test)
    ]


def _sides(test: Test) -> list[Bounds]:
    """The bounds on what is tested, low and high. `within` of every row is two parts: the row that is lowest and the one
    that is highest are not the same."""
    if test.kind == "compare" or (test.kind == "share" and test.rivals):
        return [(-math.inf, 0.0) if test.better == "lower" else (0.0, math.inf)]
    low, high = test.within or (test.at_least, test.at_most)
    low, high = -math.inf if low is None else low, math.inf if high is None else high
    if test.kind == "ratio":
        low, high = (
            math.log(bound) if 0 < bound < math.inf else math.copysign(math.inf, bound - 1) for bound in (low, high)
        )
    return [(low, math.inf), (-math.inf, high)] if test.within and test.at == "every" else [(low, high)]


def _part(evidence: Evidence, test: Test, metric: str, rival: str | None, bounds: Bounds) -> Part:
    sample = _sample(evidence, test, metric, rival, bounds)
    target = (test.share, math.inf) if test.kind in ("share", "robust") else bounds
    decision = between(sample, *target, exact=metric in EXACT and not test.reach)
    with np.errstate(invalid="ignore"):  # inf - inf: each diverged for some seed
        effect = float(sample.mean()) if len(sample) else math.nan
    return Part(metric, rival, decision, float(np.exp(effect)) if test.kind == "ratio" else effect, bounds)


def _sample(evidence: Evidence, test: Test, metric: str, rival: str | None, bounds: Bounds) -> np.ndarray:
    """One number for each seed that has one (and so has the rival), in order of the seeds."""
    ours = _outcomes(evidence, test, metric, test.subject)
    theirs = ours if rival is None else _outcomes(evidence, test, metric, rival)
    numbers = []
    for seed in sorted(ours.keys() & theirs.keys()):
        rows = _rows(test, ours[seed], None if rival is None else theirs[seed])
        numbers += [_number(test, rows, *bounds)] if len(rows) else []
    return np.array(numbers)


def _outcomes(evidence: Evidence, test: Test, metric: str, method: str) -> dict[int, float | pd.Series]:
    if test.kind == "robust":
        return robustness(evidence, test, metric, method)
    return exponent(evidence, test, metric, method).by_seed if test.growth else evidence.outcomes(test, metric, method)


def _rows(test: Test, ours: float | pd.Series, theirs: float | pd.Series | None) -> np.ndarray:
    """What is tested, for each step that both have; of one value a seed, for that value."""
    if theirs is None:
        return np.atleast_1d(ours)
    if isinstance(ours, pd.Series) and isinstance(theirs, pd.Series):
        ours, theirs = ours.align(theirs, join="inner")
    ours, theirs = np.atleast_1d(ours), np.atleast_1d(theirs)  # of a run that diverged: one infinity, for every step
    with np.errstate(invalid="ignore", divide="ignore"):  # inf - inf is NaN: both diverged
        return _log(ours) - _log(theirs) if test.kind == "ratio" else ours - theirs


def _number(test: Test, rows: np.ndarray, low: float, high: float) -> float:
    """Of the rows of a seed: the share that lies inside, or the row that is least so, or the only one."""
    if test.kind == "share":
        inside = (rows >= low) & (rows <= high)
        inside &= rows != 0 if test.rivals else True  # a tie with a rival is not better
        return float(inside[~np.isnan(rows)].mean()) if not np.isnan(rows).all() else math.nan
    return float(rows.max() if math.isfinite(high) else rows.min()) if test.at == "every" else float(rows[0])


def _log(values: np.ndarray) -> np.ndarray:
    """Logarithm that keeps an infinity an infinity of the same sign: the worst stays the worst."""
    return np.where(np.isinf(values), values, np.log(np.where(values > 0, values, np.nan)))


def named(test: Test, part: Part) -> str:
    """The name of the statistical test that decided a part."""
    name = part.decision.test
    if part.rival is None or name not in (T_TEST, SIGN_TEST):
        return name
    paired = f"paired {name}" if name == T_TEST and test.kind != "share" else name
    return (
        f"{paired} of log ratios" if test.kind == "ratio" else f"{paired} of shares" if test.kind == "share" else paired
    )


def described(test: Test, part: Part) -> str:
    """ "kbfgs minus adam: mean difference -0.3, p = 0.01, n = 5" """
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
    return (
        f"{test.subject}{metric}{growth} {against}{place} {shown(part.effect)}, p = {shown(part.decision.p_holds)}, "
        f"n = {part.decision.n}"
    )


def shown(value: float) -> str:
    """Three significant digits; words for what is not a number."""
    if math.isnan(value):
        return "undefined"
    return f"{value:.3g}" if math.isfinite(value) else "unbounded (diverged)"
