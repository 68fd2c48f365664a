"""A sweeper that asks Optuna for settings, makes the runs of a trial as any sweep does, and tells Optuna how good they are."""

from __future__ import annotations

from typing import Any

from hydra_plugins.sobench.sweeper import GridSweeper


class OptunaSweeper(GridSweeper):
    """The search of sobench.execution.search, on any of Hydra's launchers. A trial is one sweep: all seeds, all cells of an experiment."""

    def sweep(self, arguments: list[str]) -> Any:
        from sobench.config import grid
        from sobench.execution import launchers
        from sobench.execution.search import Search
        from sobench.execution.task import say

        search = Search(self.config.hydra.sweeper, arguments)
        expand = lambda words: grid.expand([*self.config.hydra.overrides.hydra, *words], self._loader)
        for words in search.ends():
            expand(words)
        with launchers.ended(self.config.hydra):
            while trials := search.ask():
                runs = [expand(trial.words) for trial in trials]
                self.make(list({run.id: run for its in runs for run in its}.values()))
                for trial, its in zip(trials, runs):
                    say(f"trial {trial.number}: {search.tell(trial, its)}")
        say(search.best())
