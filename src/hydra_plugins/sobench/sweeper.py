"""A sweeper that composes and checks every run before the first one starts, leaves out what is done, and launches the rest."""

from __future__ import annotations

from typing import Any

from hydra.plugins.sweeper import Sweeper


class GridSweeper(Sweeper):
    """The grid of `params` x the zipped `cells` (see sobench.grid), on any of Hydra's launchers."""

    def __init__(self, **settings: Any):
        """settings: read by sobench.grid from the configuration itself."""

    def setup(self, *, hydra_context, task_function, config) -> None:
        from hydra.core.plugins import Plugins

        self.config, self._loader = config, hydra_context.config_loader
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> Any:
        from sobench import grid, session

        runs = grid.expand([*self.config.hydra.overrides.hydra, *arguments], self._loader)
        pending = session.open_sweep(runs)
        if not pending:
            return []
        try:
            return self.launcher.launch([list(run.overrides) for run in pending], initial_job_idx=0)
        finally:
            session.close_sweep(runs)
