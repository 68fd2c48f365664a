"""The page of a tuning: the chosen settings with the trials of each, and the best of k trials."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from sobench.report.lines import in_ticks, line
from sobench.report.web.render import render
from sobench.report.web.tables import Cell, Grid, cell

if TYPE_CHECKING:
    from sobench.results.trials import Search, Trial

BEST_OF_K = (
    '"Best of k" is what the best of k trials drawn at random from the grid is expected to score, of the draws in '
    "which one finished: compare methods at the same k, not by their best of unequal grids."
)


def page(
    title: str, criterion: str, searches: Sequence[Search], labels: Mapping[str, str], ks: Sequence[int], picture: str
) -> str:
    """The page. criterion: the line of tuning.md that says by what the trials were compared. labels: of the searches,
    without what they share. ks: the numbers of trials of which the expected best is in the table. picture: the name of
    the file with its figure."""
    return render(
        "tuning.html",
        title=title,
        up="../" * (title.count("/") + 3),
        criterion=in_ticks(criterion),
        best_of_k=BEST_OF_K,
        choices=_choices(searches, labels, ks),
        picture=picture,
        files=["tuning.md", "trials.csv", picture],
    )


def _choices(searches: Sequence[Search], labels: Mapping[str, str], ks: Sequence[int]) -> Grid:
    rows = []
    for search in searches:
        unfinished = sum(not trial.complete for trial in search.trials)
        count = f"{len(search.trials)}" + (f" ({unfinished} unfinished)" if unfinished else "")
        trials = [(_settings(trial), _score(trial)) for trial in search.by_preference]
        chosen = _settings(search.best) if search.best else "none finished"
        expected = [_number(search.best_of(k)) for k in ks]
        first = map(cell, (labels[search.label], chosen, _score(search.best)))
        rows.append([*first, Cell(line(count), what="Trials", behind=trials), *map(cell, expected)])
    head = ["cell", "chosen", "score", "trials", *(f"best of {k}" for k in ks)]
    return Grid("Chosen settings", head, rows, frozenset({0, 1}))


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
    return f"{trial.score.mean:#.4g}" + ("" if math.isnan(error) else f" ± {error:.2g}")


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:#.4g}"
