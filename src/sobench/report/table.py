"""The table of a report: our values with standard errors and seeds, and the published values beside them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from sobench.report.evidence import Evidence
from sobench.report.many_settings import exponent
from sobench.report.schema.spec import Column
from sobench.results.aggregate import Aggregate
from sobench.results.growth import Growth
from sobench.results.pick import COSTS

BEST, SECOND = "best", "second"
_RANKING = "Best of ours in bold, second best underlined; a method with a diverged seed or a cut budget is not ranked."
_COST = "A cost is a mean over diverged runs too, and is ranked whatever the budget."
_GROWTH = "A growth is the exponent of a power law fitted to all runs of a method, ± the standard error of the fit."
_CENSORED = (
    "> 10 s, not converged: the budget ended the runs after 10 s or more; they are not in the mean, nor is the method "
    "ranked."
)
_MEAN = "Mean ± standard error over the seeds that finished; n counts them, of those expected."


@dataclass(frozen=True)
class Cell:
    """One entry. mark: that of the footnote about a cut budget or stale runs."""

    ours: Aggregate | Growth
    published: float | list[float] | None
    rank: str | None = None
    mark: str = ""


@dataclass(frozen=True)
class Row:
    method: str
    label: str
    cells: list[Cell]
    steps: str
    epochs: str


@dataclass(frozen=True)
class Contents:
    """The table before formatting.

    Columns of a stand-in data set have its name in their label. footnotes: by their mark in the cells. notes: about the
    whole table.
    """

    columns: list[Column]
    rows: list[Row]
    footnotes: dict[str, str]
    notes: list[str]


def contents(evidence: Evidence) -> Contents:
    """Every method against every column of the report's table."""
    report = evidence.report
    columns = evidence.asked(report.columns)
    absent = [column for column in report.columns if column not in columns]
    marks: dict[str, str] = {}  # footnote text -> mark
    grid: dict[str, list[Cell]] = {method: [] for method in report.methods}
    for column in columns:
        aggregates = {method: _ours(evidence, column, method) for method in report.methods}
        cuts = {} if column.growth else evidence.cuts(column.where)
        unfair = {*cuts, *(m for m in aggregates if evidence.censored(column, column.metric, m))}
        ranks = _ranks(aggregates, column, unfair)
        for method, ours in aggregates.items():
            reasons = [str(why) for why in (cuts.get(method), evidence.stale(method, column.where)) if why]
            footnote = f"{method}: {'; '.join(reasons)}"
            mark = marks.setdefault(footnote, chr(ord("a") + len(marks) % 26)) if reasons else ""
            grid[method].append(Cell(ours, column.published.get(method), ranks.get(method), mark))
    rows = [
        Row(method, report.methods[method].label, cells, *_lengths(evidence, method, columns))
        for method, cells in grid.items()
    ]
    notes = [_MEAN]
    if absent:
        labels = ", ".join(dict.fromkeys(column.label for column in absent))
        notes.append(f"Left out, as no run of theirs was asked for: {labels}.")
    if any(column.metric in COSTS for column in columns):
        notes.append(_COST)
    if any(column.growth for column in columns):
        notes.append(_GROWTH)
    if any(evidence.censored(column, column.metric, method) for column in columns for method in grid):
        notes.append(_CENSORED)
    if any(column.better for column in columns):
        notes.append(_RANKING)
    footnotes = {mark: text for text, mark in marks.items()}
    return Contents([_labelled(evidence, column) for column in columns], rows, footnotes, notes)


def _ours(evidence: Evidence, column: Column, method: str) -> Aggregate | Growth:
    if column.growth:
        return exponent(evidence, column, column.metric, method)
    return evidence.aggregate(column, column.metric, method, evidence.runs(method, column.where))


def _labelled(evidence: Evidence, column: Column) -> Column:
    """The column; if its data set stands in for another, with the name of the data set in its label."""
    names = evidence.look_alikes(evidence.report.methods, column.where)
    return replace(column, label=f"{column.label} ({', '.join(names)})") if names else column


def _ranks(aggregates: dict[str, Aggregate | Growth], column: Column, unfair: set[str]) -> dict[str, str]:
    """The best and second best of the comparable means. Costs can be compared whatever the budget.

    unfair: the methods that were cut, or of which a run did not converge.
    """
    if not column.better:
        return {}
    cost = column.metric in COSTS
    means = {
        method: ours.mean
        for method, ours in aggregates.items()
        if math.isfinite(ours.mean) and (cost or not (ours.diverged or method in unfair))
    }
    distinct = sorted(set(means.values()), reverse=column.better == "higher")[:2]
    names = dict(zip(distinct, (BEST, SECOND), strict=False))
    return {method: names[mean] for method, mean in means.items() if mean in names} if len(means) > 1 else {}


def _lengths(evidence: Evidence, method: str, columns: list[Column]) -> tuple[str, str]:
    """The steps and epochs that the runs of a method made, over all columns: "6,566", or "40 to 60"."""
    wheres = [column.where for column in columns]
    states = [evidence.results.states[run.id] for where in wheres for run in evidence.fitting(method, where)]
    return _span([s.step for s in states], ",.0f"), _span([s.epoch for s in states], ".3g")


def _span(values: list[float | None], style: str) -> str:
    texts = list(dict.fromkeys(format(value, style) for value in sorted(v for v in values if v is not None)))
    return "" if not texts else texts[0] if len(texts) == 1 else f"{texts[0]} to {texts[-1]}"
