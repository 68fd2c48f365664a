"""The numbers of a comparison as rows: for programs and data frames, and one a line for numbers.csv."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Mapping
from typing import Any

from sobench.report.comparison import verdict
from sobench.report.comparison.analysis import LOSS, TIE, WIN, OnAxis
from sobench.report.comparison.bootstrap import Estimate
from sobench.report.comparison.study import TARGET, Study
from sobench.report.comparison.undecided import Undecided, undecided

Row = dict[str, Any]
Line = tuple[str, str, str, float, float, float]
"""Problem, method, what, and the value with its interval, NaN if there is none."""


def times(study: Study, numbers: Mapping[str, OnAxis]) -> Iterator[Row]:
    """A row for each axis, problem and method."""
    for axis, of_axis in numbers.items():
        for problem in study.problems:
            for method in study.methods:
                reached = of_axis.summaries[problem.name][method]
                yield {
                    "axis": axis,
                    "problem": problem.name,
                    "method": method,
                    "metric": problem.metric,
                    "target": problem.levels[TARGET],
                    "reached": reached.hit,
                    "seeds": reached.seeds,
                    "median": reached.median,
                    "low": reached.low,
                    "high": reached.high,
                    "horizon": problem.horizon(axis),
                }


def pairs(study: Study, numbers: Mapping[str, OnAxis]) -> Iterator[Row]:
    """A row for each axis and method beside the baseline.

    ratios: by problem. needs: how many more seeds of each problem, or problems, would decide an undecided method; None
    if none would, and for one that is decided.
    """
    for axis, of_axis in numbers.items():
        needs = {one.pair.method: one for one in undecided(study, axis, of_axis.pairs) if one.count is not None}
        for row in _measured({axis: of_axis}):
            yield {**row, "needs": _needs(needs.get(row["method"]))}


def _measured(numbers: Mapping[str, OnAxis]) -> Iterator[Row]:
    """The rows of `pairs` without `needs`."""
    for axis, of_axis in numbers.items():
        for pair in of_axis.pairs:
            yield {
                "axis": axis,
                "method": pair.method,
                **_estimate("ratio", pair.ratio),
                "ratios": dict(pair.ratios),
                **_estimate("faster", pair.better),
                "wins": pair.count(WIN),
                "ties": pair.count(TIE),
                "losses": pair.count(LOSS),
                "p": pair.p,
                "adjusted_p": pair.adjusted,
                "pairs": pair.pairs,
                "one_missed": pair.bounds,
                "both_missed": pair.open,
                "answer": verdict.answer(pair),
            }


def _needs(one: Undecided | None) -> Row | None:
    return None if one is None else {"count": one.count, "of": f"{one.noun}s", "seconds": one.seconds}


def _estimate(name: str, estimate: Estimate) -> Row:
    return {name: estimate.mean, f"{name}_low": estimate.low, f"{name}_high": estimate.high}


def ranks(study: Study, numbers: Mapping[str, OnAxis]) -> Iterator[Row]:
    """A row for each axis and method."""
    for axis, of_axis in numbers.items():
        for rank in of_axis.ranks:
            place = study.methods.index(rank.method)
            yield {
                "axis": axis,
                "rank": rank.rank,
                "method": rank.method,
                "score": rank.score,
                "fastest": float(of_axis.profiles.shares[place, 0]),
                "band": float(of_axis.profiles.width[place]),
                "moves": {change: new for change, (_, new) in rank.moves.items()},
            }


def runs(study: Study) -> Iterator[Row]:
    """A row for each run."""
    for problem in study.problems:
        for method, entry in problem.entries.items():
            for place, (seed, run) in enumerate(zip(entry.seeds, entry.runs, strict=True)):
                reached = {axis: float(problem.times(axis, method)[place]) for axis in study.axes}
                yield {
                    "problem": problem.name,
                    "method": method,
                    "seed": seed,
                    "id": run,
                    "settings": entry.settings,
                    "final": float(entry.final[place]),
                    **reached,
                }


def to_csv(study: Study, numbers: Mapping[str, OnAxis]) -> str:
    """A line for each number of each axis, unrounded: axis, problem, method, what, value, low, high."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["axis", "problem", "method", "what", "value", "low", "high"])
    for axis, of_axis in numbers.items():
        for problem, method, what, *values in _lines(study, {axis: of_axis}):
            writer.writerow([axis, problem, method, what, *map(_written, values)])
    return file.getvalue()


def _lines(study: Study, numbers: Mapping[str, OnAxis]) -> Iterator[Line]:
    """The lines of numbers.csv on one axis."""
    unknown = math.nan, math.nan
    for row in times(study, numbers):
        yield row["problem"], row["method"], "median time", row["median"], row["low"], row["high"]
        yield row["problem"], row["method"], "share reached", row["reached"] / max(1, row["seeds"]), *unknown
    for row in _measured(numbers):
        for name, what in (("ratio", "ratio to the baseline"), ("faster", "P(faster)")):
            yield "", row["method"], what, row[name], row[f"{name}_low"], row[f"{name}_high"]
        for problem, ratio in row["ratios"].items():
            yield problem, row["method"], "ratio to the baseline", ratio, *unknown
        yield "", row["method"], "adjusted p", row["adjusted_p"], *unknown
    for row in ranks(study, numbers):
        yield "", row["method"], "score", row["score"], *unknown


def _written(value: float) -> str:
    return "" if math.isnan(value) else repr(float(value))
