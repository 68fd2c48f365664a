"""Runs in the processes of a launcher, maybe on another machine: working directory, environment, configuration.

`RemoteTask` and `CellLoader` are pickled with each job. No torch.
"""

from __future__ import annotations

import os
import pickle
import socket
import sys
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sobench.system import interpreter, stopping

if TYPE_CHECKING:
    from hydra.core.config_loader import ConfigLoader
    from omegaconf import DictConfig

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
"""Variables that a worker gets if they are set; otherwise a launcher may choose: joblib takes cores / processes."""


@dataclass(frozen=True)
class WorkerContext:
    """The working directory of a process, and the environment variables that a run can depend on (None: not set)."""

    folder: str
    variables: Mapping[str, str | None]

    @classmethod
    def of_this_process(cls, restored: Sequence[str] = ()) -> WorkerContext:
        """The context of this process; `restored` names further variables that belong to it."""
        ours = {name: value for name, value in os.environ.items() if name.startswith("SOBENCH_") or name in THREADS}
        return cls(str(Path.cwd()), ours | {name: os.environ.get(name) for name in restored})

    def restore(self) -> None:
        """Give this process the directory and the variables. Raises OSError if the directory cannot be entered."""
        os.chdir(self.folder)
        for name in [name for name in os.environ if name.startswith("SOBENCH_")] + list(self.variables):
            os.environ.pop(name, None)
        os.environ.update({name: value for name, value in self.variables.items() if value is not None})


class RemoteTask:
    """A task function for Hydra that takes its context along.

    Pickling it adds the context of the process that pickles it; the process that calls it restores that context first.
    restores: environment variables that belong to the context besides sobench's own.
    """

    def __init__(
        self,
        function: Callable[[Any], Any],
        restores: tuple[str, ...] = (),
        context: WorkerContext | None = None,
    ):
        self.function, self.restores, self.context = function, restores, context

    def __reduce__(self) -> tuple[Any, ...]:
        context = self.context or WorkerContext.of_this_process(self.restores)
        return RemoteTask, (self.function, self.restores, context)

    def __call__(self, config: Any) -> Any:
        """Run the task function. Without the directory there is one line on standard error, and no run."""
        if self.context:
            try:
                self.context.restore()
            except OSError as error:
                print(
                    f"sobench: {self.context.folder}: cannot be entered on {socket.gethostname()} ({error.strerror}); "
                    "allowed: a folder that every machine of the sweep has",
                    file=sys.stderr,
                    flush=True,
                )
                return None
            interpreter.begin_worker_job()
            stopping.leave_interrupts_to_the_sweep()
        return self.function(config)


CELLS = 1000
"""The number of configurations that a process keeps, of some 20 kB each; the oldest is dropped."""

_composed: dict[tuple[str, tuple[str, ...]], bytes] = {}
"""The pickled configuration of each cell that this process has composed, by sweep and overrides."""


class CellLoader:
    """Hydra's configuration loader, with one composition a cell: the jobs of a cell differ by their seed alone.

    A launcher composes every job by itself, which takes Hydra some 100 ms. Here the first job of a cell is composed
    without its seed and kept, interpolations unresolved; each job gets a copy with its own seed. The copy is made by
    unpickling, which takes a tenth of the time of OmegaConf's own copy.

    Hydra calls `load_sweep_config`; all other attributes are those of the loader given. A loader is pickled with each
    job, while what it has composed stays in the process (`_composed`). `sweep` identifies the sweep there.
    """

    def __init__(self, loader: ConfigLoader, sweep: str | None = None):
        self._loader, self._sweep = loader, sweep or uuid.uuid4().hex

    def __reduce__(self) -> tuple[Any, ...]:
        return CellLoader, (self._loader, self._sweep)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def load_sweep_config(self, master_config: DictConfig, sweep_overrides: Sequence[str]) -> DictConfig:
        """The configuration of the job with these overrides. Raises the exceptions of Hydra's loader."""
        from omegaconf import open_dict

        from sobench.config.grid import seedless

        cell, seed = seedless(sweep_overrides)
        if seed is None:  # it may refer to other settings: it cannot be set afterwards
            return self._loader.load_sweep_config(master_config, list(sweep_overrides))
        config = self._composed_cell(master_config, cell)
        with open_dict(config):
            config.seed = seed
            config.hydra.overrides.task = list(sweep_overrides)
        return config

    def _composed_cell(self, master_config: DictConfig, cell: tuple[str, ...]) -> DictConfig:
        """A new copy of the cell's configuration."""
        key = (self._sweep, cell)
        if key not in _composed:
            while len(_composed) >= CELLS:
                oldest = next(iter(_composed))
                del _composed[oldest]
            _composed[key] = pickle.dumps(self._loader.load_sweep_config(master_config, list(cell)))
        return pickle.loads(_composed[key])
