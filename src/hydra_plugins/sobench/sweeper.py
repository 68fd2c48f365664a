"""A sweeper that composes and checks every run before the first one starts. Hydra instantiates it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from hydra.plugins.sweeper import Sweeper

if TYPE_CHECKING:
    from hydra.types import HydraContext
    from omegaconf import DictConfig

    from sobench.config.run import Run


class GridSweeper(Sweeper):
    """The grid of `params` x the zipped `cells` (see sobench.config.grid), on any of Hydra's launchers.

    Runs that have a result are left out.
    """

    def __init__(self, **settings: Any):
        """settings: those of the node hydra.sweeper, which sobench.config.grid reads from the configuration itself."""

    def setup(
        self, *, hydra_context: HydraContext, task_function: Callable[[DictConfig], Any], config: DictConfig
    ) -> None:
        from sobench.config.hydra_private import make_launcher
        from sobench.execution import launchers
        from sobench.execution.remote import JobLoader, RemoteTask

        launchers.checked(config.hydra)
        self.config = config  # an attribute of Hydra's Sweeper
        self._hydra, self._loader = config.hydra, hydra_context.config_loader
        its = launchers.traits(config.hydra)
        self._launcher = make_launcher(
            hydra_context,
            JobLoader(self._loader),
            launchers.without_sweep(config),
            RemoteTask(task_function, its.restores, its.owns),
        )

    def sweep(self, arguments: list[str]) -> None:
        from sobench.config import grid
        from sobench.execution import launchers

        with launchers.closing(self._hydra):
            self.run_all(grid.expand([*self._hydra.overrides.hydra, *arguments], self._loader))

    def run_all(self, runs: Sequence[Run]) -> None:
        """Launch the runs that have no result yet."""
        from sobench.execution import launchers
        from sobench.execution.sweep import Sweep

        with Sweep(runs, self._hydra.runtime.choices["hydra/launcher"]) as sweep:
            while jobs := sweep.todo():
                with sweep.launching(jobs):
                    launchers.launch(self._launcher, self._hydra, [list(run.overrides) for run in jobs])
