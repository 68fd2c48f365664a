"""Which settings a grid of trials speaks for, and how much luck was in it. See sobench.config.tuning for what a trial is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sobench.config import tuning
from sobench.results.aggregate import Aggregate, aggregate
from sobench.results.axes import is_time
from sobench.results.collection import Results, Run
from sobench.results.pick import pick


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
    grid: Mapping[str, Sequence]
    trials: list[Trial]
    better: str

    @property
    def label(self) -> str:
        """The cell in a few words: the values of its settings, groups first."""
        return " ".join(s.partition("=")[2] if "." not in s.partition("=")[0] else s for s in self.cell)

    @property
    def ranked(self) -> list[Trial]:
        """Those that finished with every seed, the best first; of equals, the first of the grid."""
        sign = -1 if self.better == "higher" else 1
        return sorted((trial for trial in self.trials if trial.complete), key=lambda trial: sign * trial.score.mean)

    @property
    def best(self) -> Trial | None:
        return next(iter(self.ranked), None)

    @property
    def edge(self) -> list[str]:
        """The settings whose best value is the smallest or the largest that was tried: a better one may lie beyond."""
        if not self.best:
            return []
        numeric = {key: values for key, values in self.grid.items() if len(values) > 1 and all(map(_is_number, values))}
        return [key for key, values in numeric.items() if self.best.values[key] in (min(values), max(values))]

    def best_of(self, k: int) -> float:
        """What the best of k trials, drawn at random from the grid, is expected to score, of the draws in which one finished.
        With n trials, ranked the best first, the i-th is the best of k with probability C(n - i, k - 1) / C(n, k). NaN for more
        than there are, and where none finished."""
        n, ranked = len(self.trials), self.ranked
        if not 1 <= k <= n or not ranked:
            return math.nan
        weights = [math.comb(n - i, k - 1) / math.comb(n, k) for i in range(1, len(ranked) + 1)]
        return math.fsum(w * trial.score.mean for w, trial in zip(weights, ranked)) / math.fsum(weights)


def searches(sweeper: Mapping[str, Any], results: Results) -> list[Search]:
    """A search for each cell of the experiment that some of the runs are trials of, in the experiment's order. A run that shared
    its GPU is no trial where it is judged by a time."""
    tune = tuning.checked(sweeper)
    places = [*tune["at"], *tune["at"].values()] if isinstance(tune["at"], Mapping) else []
    states = results.alone(is_time(tune["metric"], *map(str, places)))
    scores = pick(results.table, tune["metric"], at=tune["at"], better=tune["better"]).to_dict()
    grids = {
        frozenset(tuning.without(cell, grid)): (cell, grid)
        for cell in sweeper["cells"]
        if (grid := tuning.grid_of(cell, tune))
    }
    trials: dict[frozenset, dict[tuple, list[Run]]] = {bare: {} for bare in grids}
    for run in results.runs:
        bare = tuning.nearest(run.overrides, grids)
        words = tuple(s for s in run.overrides if s.partition("=")[0] in grids[bare][1])
        trials[bare].setdefault(words, []).append(run)
    return [
        Search(
            tuple(tuning.without(*grids[bare])),
            grids[bare][1],
            [Trial(_values(words), aggregate(scores, runs, states)) for words, runs in of_cell.items()],
            tune["better"],
        )
        for bare, of_cell in trials.items()
        if of_cell
    ]


def _values(words: Sequence[str]) -> dict[str, Any]:
    from omegaconf import OmegaConf

    parts = [word.partition("=") for word in words]
    return {key: OmegaConf.from_dotlist([f"v={value}"]).v for key, _, value in parts}


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
