"""The trials of a hyperparameter search: their scores, the best one, and its dependence on the number of trials.

`sobench.config.tuning` defines a trial.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sobench.config import tuning
from sobench.results.aggregate import Aggregate, aggregate
from sobench.results.axes import is_time
from sobench.results.collection import Results
from sobench.results.pick import pick

if TYPE_CHECKING:
    from sobench.config.run import Run


Grid = Mapping[str, Sequence[Any]]
"""Setting -> the values to try."""


@dataclass(frozen=True)
class Trial:
    """One combination of a grid on one cell, and its scores over the tuning seeds."""

    values: dict[str, Any]
    score: Aggregate

    @property
    def complete(self) -> bool:
        return 0 < self.score.expected == self.score.found


@dataclass(frozen=True)
class Search:
    """All trials of one cell. cell: its settings that were not searched; better: `higher` or `lower`."""

    cell: tuple[str, ...]
    grid: Grid
    trials: list[Trial]
    better: str

    @property
    def label(self) -> str:
        """The cell in a few words: the values of its groups, and its other settings in full."""
        parts = []
        for setting in self.cell:
            key, _, value = setting.partition("=")
            parts.append(setting if "." in key else value)
        return " ".join(parts)

    @property
    def ranked(self) -> list[Trial]:
        """The trials that finished with every seed, the best first; ties in the order of the grid."""
        sign = -1 if self.better == "higher" else 1
        return sorted((trial for trial in self.trials if trial.complete), key=lambda trial: sign * trial.score.mean)

    @property
    def by_preference(self) -> list[Trial]:
        """All trials: the ranked ones, then the others, those with fewer diverged and more finished seeds first."""
        sign = -1 if self.better == "higher" else 1

        def preference(trial: Trial) -> tuple[int, int, float]:
            score = trial.score
            return score.diverged, -score.found, sign * score.mean if score.found else math.inf

        return [*self.ranked, *sorted((trial for trial in self.trials if not trial.complete), key=preference)]

    @property
    def best(self) -> Trial | None:
        return next(iter(self.ranked), None)

    @property
    def edge(self) -> list[str]:
        """The settings whose best value is the smallest or largest of its grid: a better one may lie beyond."""
        best = self.best
        if best is None:
            return []
        edge = []
        for key, values in self.grid.items():
            searched = len(values) > 1 and all(map(is_number, values))
            if searched and best.values[key] in (min(values), max(values)):
                edge.append(key)
        return edge

    def best_of(self, k: int) -> float:
        """The expected score of the best of k trials drawn at random from the grid, given that one of them finished.

        With n trials, ranked the best first, the i-th is the best of k with probability C(n - i, k - 1) / C(n, k). NaN
        if k is not in 1..n, and if no trial finished.
        """
        n, ranked = len(self.trials), self.ranked
        if not 1 <= k <= n or not ranked:
            return math.nan
        weights = [math.comb(n - i, k - 1) / math.comb(n, k) for i in range(1, len(ranked) + 1)]
        return math.fsum(w * trial.score.mean for w, trial in zip(weights, ranked)) / math.fsum(weights)


def searches(sweeper: Mapping[str, Any], results: Results) -> list[Search]:
    """The search of each cell of the experiment of which some runs are trials, in the experiment's order.

    A run whose time does not count is no trial where trials are judged by a time.
    """
    tune = tuning.checked(sweeper)
    places = [*tune["at"], *tune["at"].values()] if isinstance(tune["at"], Mapping) else []
    states = results.alone(is_time(tune["metric"], *map(str, places)))
    scores = pick(results.table, tune["metric"], at=tune["at"], better=tune["better"]).to_dict()
    found = []
    for cell, grid, runs_by_values in _trials_by_cell(sweeper, tune, results.runs):
        trials = [
            Trial(tuning.values_of(words), aggregate(scores, runs, states)) for words, runs in runs_by_values.items()
        ]
        found.append(Search(tuple(tuning.without(cell, grid)), grid, trials, tune["better"]))
    return found


def _trials_by_cell(
    sweeper: Mapping[str, Any], tune: Mapping[str, Any], runs: Sequence[Run]
) -> list[tuple[tuning.Cell, Grid, dict[tuple[str, ...], list[Run]]]]:
    """Each cell that has trials, its grid, and its runs by the overrides that make a trial of the cell."""
    grids: dict[frozenset[str], tuple[tuning.Cell, Grid]] = {}  # by the settings of the cell that are not searched
    for cell in sweeper["cells"]:
        grid = tuning.grid_of(cell, tune)
        if grid:
            grids[frozenset(tuning.without(cell, grid))] = cell, grid
    trials: dict[frozenset[str], dict[tuple[str, ...], list[Run]]] = {fixed: {} for fixed in grids}
    for run in runs:
        fixed = tuning.nearest(run.overrides, grids)
        assert fixed is not None  # every run is a trial of some cell, see tuning.trials
        _, grid = grids[fixed]
        searched = tuple(setting for setting in run.overrides if setting.partition("=")[0] in grid)
        trials[fixed].setdefault(searched, []).append(run)
    return [(*grids[fixed], of_cell) for fixed, of_cell in trials.items() if of_cell]


def is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
