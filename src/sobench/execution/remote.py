"""Runs in the processes of a launcher, maybe on another machine: working directory, environment, configuration.

`RemoteTask` and `JobLoader` are pickled with each job. No torch.
"""

from __future__ import annotations

import os
import socket
import sys
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sobench.config.composer import Composer
from sobench.system import interpreter, stopping
from sobench.system.output import say, unfailing
from sobench.system.parent import Owner, end_with

if TYPE_CHECKING:
    from hydra.core.config_loader import ConfigLoader
    from omegaconf import DictConfig

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
"""Variables that a worker gets if they are set; otherwise a launcher may choose: joblib takes cores / processes."""


@dataclass(frozen=True)
class WorkerContext:
    """The working directory of a process, and the environment variables that a run can depend on (None: not set).

    owner: the process that the workers end with, if there is one.
    """

    folder: str
    variables: Mapping[str, str | None]
    owner: Owner | None = None

    @classmethod
    def of_this_process(cls, restored: Sequence[str] = (), owns: bool = False) -> WorkerContext:
        """The context of this process; `restored` names further variables that belong to it, `owns`: it is the owner"""
        ours = {name: value for name, value in os.environ.items() if name.startswith("SOBENCH_") or name in THREADS}
        variables = ours | {name: os.environ.get(name) for name in restored}
        return cls(str(Path.cwd()), variables, Owner.this_process() if owns else None)

    def restore(self) -> None:
        """Give this process the directory, the variables and the owner.

        Raises OSError if the directory cannot be entered.
        """
        if self.owner:
            end_with(self.owner)
        os.chdir(self.folder)
        for name in [name for name in os.environ if name.startswith("SOBENCH_")] + list(self.variables):
            os.environ.pop(name, None)
        os.environ.update({name: value for name, value in self.variables.items() if value is not None})


class RemoteTask:
    """A task function for Hydra that takes its context along.

    Pickling it adds the context of the process that pickles it; the process that calls it restores that context first.
    restores: environment variables that belong to the context besides sobench's own. owns: whether a process that
    calls it ends with the process that pickled it, on the same machine.
    """

    def __init__(
        self,
        function: Callable[[Any], Any],
        restores: tuple[str, ...] = (),
        owns: bool = False,
        context: WorkerContext | None = None,
    ):
        self.function, self.restores, self.owns, self.context = function, restores, owns, context

    def __reduce__(self) -> tuple[Any, ...]:
        context = self.context or WorkerContext.of_this_process(self.restores, self.owns)
        return RemoteTask, (self.function, self.restores, self.owns, context)

    def __call__(self, config: Any) -> Any:
        """Run the task function. Without the directory there is one line on standard error, and no run."""
        if self.context:
            try:
                self.context.restore()
            except OSError as error:
                say(
                    f"sobench: {self.context.folder}: cannot be entered on {socket.gethostname()} ({error.strerror}); "
                    "allowed: a folder that every machine of the sweep has",
                    sys.stderr,
                )
                return None
            interpreter.begin_worker_job()
            stopping.leave_interrupts_to_the_sweep()
        with unfailing():
            return self.function(config)


_composers: dict[str, Composer] = {}
"""The composer of this process, by sweep: at most one."""


class JobLoader:
    """Hydra's configuration loader, with one composition for each choice of config groups; see `Composer`.

    A launcher composes every job by itself, which takes Hydra some 100 ms. Hydra calls `load_sweep_config`; all other
    attributes are those of the loader given. A loader is pickled with each job, while its composer stays in the
    process. `sweep` identifies the sweep there.
    """

    def __init__(self, loader: ConfigLoader, sweep: str | None = None):
        self._loader, self._sweep = loader, sweep or uuid.uuid4().hex

    def __reduce__(self) -> tuple[Any, ...]:
        return JobLoader, (self._loader, self._sweep)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def load_sweep_config(self, master_config: DictConfig, sweep_overrides: Sequence[str]) -> DictConfig:
        """The configuration of the job with these overrides. Raises the exceptions of Hydra's loader."""
        from omegaconf import OmegaConf

        if self._sweep not in _composers:
            _composers.clear()
            _composers[self._sweep] = Composer(self._loader, master_config.hydra.overrides.hydra)
        config = _composers[self._sweep].job(sweep_overrides)
        OmegaConf.copy_cache(from_config=master_config, to_config=config)
        return config
