"""A sweeper that composes and checks every run before the first one starts, leaves out what is done, and launches the rest."""

from __future__ import annotations

from typing import Any

from hydra.plugins.sweeper import Sweeper


class GridSweeper(Sweeper):
    """The grid of `params` x the zipped `cells` (see sobench.config.grid), on any of Hydra's launchers."""

    def __init__(self, **settings: Any):
        """settings: read by sobench.config.grid from the configuration itself."""

    def setup(self, *, hydra_context, task_function, config) -> None:
        from hydra.core.plugins import Plugins
        from hydra.types import HydraContext

        from sobench.execution import launchers
        from sobench.execution.remote import CellLoader, Task

        launchers.checked(config.hydra)
        needs = launchers.extra_of(config.hydra, "hydra/launcher")
        self.config, self._loader = config, hydra_context.config_loader
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=HydraContext(config_loader=CellLoader(self._loader), callbacks=hydra_context.callbacks),
            config=launchers.without_sweep(config),
            task_function=Task(task_function, needs.restores if needs else ()),
        )

    def sweep(self, arguments: list[str]) -> Any:
        from sobench.config import grid
        from sobench.execution import launchers

        with launchers.ended(self.config.hydra):
            self.make(grid.expand([*self.config.hydra.overrides.hydra, *arguments], self._loader))

    def make(self, runs) -> None:
        """Have the launcher make those of the runs that have no result yet."""
        from sobench.execution import launchers
        from sobench.execution.sweep import Sweep

        with Sweep(runs, self.config.hydra.runtime.choices["hydra/launcher"]) as sweep:
            while jobs := sweep.todo():
                with sweep.launching(jobs):
                    launchers.launch(self.launcher, self.config.hydra, [list(run.overrides) for run in jobs])
