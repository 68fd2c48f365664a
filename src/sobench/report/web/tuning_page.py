"""The page of a tuning: the chosen settings, the best of k trials, and all trials."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from sobench.report.lines import Piece, in_ticks, line
from sobench.report.web.charts import Charts
from sobench.report.web.render import render
from sobench.report.web.tables import Cell, Grid, cell, of_lines

if TYPE_CHECKING:
    from sobench.results.trials import Search, Trial

BEST_OF_K = (
    '"Best of k" is what the best of k trials drawn at random from the grid is expected to score, of the draws in '
    "which one finished: compare methods at the same k, not by their best of unequal grids."
)


def page(
    title: str, criterion: str, searches: Sequence[Search], labels: Mapping[str, str], ks: Sequence[int], figure: Charts
) -> str:
    """The page. criterion: the line of tuning.md that says by what the trials were compared. labels: of the searches,
    without what they share."""
    return render(
        "tuning.html",
        title=title,
        up="../" * (title.count("/") + 3),
        criterion=in_ticks(criterion),
        best_of_k=BEST_OF_K,
        choices=_choices(searches, labels),
        expected=_expected(searches, labels, ks),
        trials=_trials(searches, labels),
        figure=figure,
        files=["tuning.md", "trials.csv", "best-of-k.png"],
    )


def _choices(searches: Sequence[Search], labels: Mapping[str, str]) -> Grid:
    rows = []
    for search in searches:
        unfinished = sum(not trial.complete for trial in search.trials)
        count = f"{len(search.trials)}" + (f" ({unfinished} unfinished)" if unfinished else "")
        settings, score = (_settings(search.best), _score(search.best)) if search.best else ("none finished", "–")
        rows.append([line(labels[search.label]), line(settings), line(score), line(count)])
    return of_lines("Chosen settings", ["cell", "chosen", "score", "trials"], rows, frozenset({0, 1}))


def _expected(searches: Sequence[Search], labels: Mapping[str, str], ks: Sequence[int]) -> Grid:
    rows = [[cell(labels[search.label]), *(cell(_number(search.best_of(k))) for k in ks)] for search in searches]
    return Grid("Expected best score", ["cell", *(f"best of {k}" for k in ks)], rows)


def _trials(searches: Sequence[Search], labels: Mapping[str, str]) -> Grid:
    rows = []
    for search in searches:
        for trial in search.trials:
            mark = "strong" if trial is search.best else ""
            texts = (_settings(trial), _score(trial), f"{trial.score.found}/{trial.score.expected}")
            rows.append([cell(labels[search.label]), *(Cell(line(Piece(text, mark))) for text in texts)])
    return Grid("All trials", ["cell", "settings", "score", "n"], rows, frozenset({0, 1}))


def _settings(trial: Trial) -> str:
    return ", ".join(f"{key.removeprefix('optimizer.')} {_value(value)}" for key, value in trial.values.items()) or "–"


def _value(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.0f}" if value.is_integer() and abs(value) < 1e7 else f"{value:g}"
    return str(value)


def _score(trial: Trial | None) -> str:
    if trial is None or math.isnan(trial.score.mean):
        return "–"
    error = trial.score.stderr
    return f"{trial.score.mean:.4g}" + ("" if math.isnan(error) else f" ± {error:.2g}")


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.4g}"
