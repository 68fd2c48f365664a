"""A sweeper that searches settings with Optuna: each trial is a sweep of sobench. Hydra instantiates it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hydra_plugins.sobench.sweeper import GridSweeper

if TYPE_CHECKING:
    from sobench.config.run import Run


class OptunaSweeper(GridSweeper):
    """The search of sobench.execution.search, on any of Hydra's launchers.

    A trial is one sweep over all seeds and cells.
    """

    def sweep(self, arguments: list[str]) -> None:
        from sobench.execution import launchers
        from sobench.execution.search import OptunaSearch
        from sobench.execution.task import say

        search = OptunaSearch(self._hydra.sweeper, arguments)
        for overrides in search.corners():
            self._expand(overrides)
        with launchers.closing(self._hydra):
            while trials := search.ask():
                runs_of_trials = [self._expand(trial.overrides) for trial in trials]
                distinct = {run.id: run for runs in runs_of_trials for run in runs}
                self.run_all(list(distinct.values()))
                for trial, runs in zip(trials, runs_of_trials, strict=True):
                    say(f"trial {trial.number}: {search.tell(trial, runs)}")
        say(search.best())

    def _expand(self, overrides: Sequence[str]) -> list[Run]:
        from sobench.config import grid

        return grid.expand([*self._hydra.overrides.hydra, *overrides], self._loader)
