"""A run in a process that a launcher started, maybe on another machine: in its sweep's folder and environment. No torch.

Hydra's configuration loader for the jobs of a sweep: what differs by the seed alone is composed once in each process. No torch.

A launcher has every job composed anew, which takes Hydra some 100 ms. All seeds of a cell are composed from the same files to
the same configuration: one is kept as it came, interpolations and all, and copies of it have the other seeds put in. It is kept
pickled, in memory: to load that takes a tenth of what OmegaConf's own copy does.
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
from typing import Any

from sobench.system import interpreter

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
"""Taken along where they are set; otherwise a launcher may choose, as joblib does: cores / processes."""


class Task:
    """A task function of Hydra's that takes its place along: pickled, it remembers the folder and the environment variables
    of the process that pickles it, and takes them on in the one that calls it."""

    def __init__(self, function: Callable[[Any], Any], restores: tuple[str, ...] = (), place: Place | None = None):
        self.function, self.restores, self.place = function, restores, place

    def __reduce__(self):
        return Task, (self.function, self.restores, self.place or Place.here(self.restores))

    def __call__(self, config) -> Any:
        if self.place:
            try:
                self.place.enter()
            except OSError as error:
                print(
                    f"sobench: {self.place.folder}: cannot be entered on {socket.gethostname()} ({error.strerror}); "
                    "allowed: a folder that every machine of the sweep has",
                    file=sys.stderr,
                    flush=True,
                )
                return None
            interpreter.begin_worker_job()
        return self.function(config)


@dataclass(frozen=True)
class Place:
    """Where a process is: its folder, and the environment variables that a run can depend on (None: must not be set)."""

    folder: str
    variables: Mapping[str, str | None]

    @classmethod
    def here(cls, restored: Sequence[str]) -> Place:
        kept = {name: value for name, value in os.environ.items() if name.startswith("SOBENCH_") or name in THREADS}
        return cls(str(Path.cwd()), kept | {name: os.environ.get(name) for name in restored})

    def enter(self) -> None:
        """Take it on. Raises OSError."""
        os.chdir(self.folder)
        for name in [name for name in os.environ if name.startswith("SOBENCH_")] + list(self.variables):
            os.environ.pop(name, None)
        os.environ.update({name: value for name, value in self.variables.items() if value is not None})


CELLS = 1000
"""The most configurations that are kept, of some 20 kB each."""

_composed: dict[tuple, bytes] = {}


class CellLoader:
    """The loader given, but for `load_sweep_config`. It is pickled once for each job: what it composed stays in the process."""

    def __init__(self, loader, sweep: str | None = None):
        self._loader, self._sweep = loader, sweep or uuid.uuid4().hex

    def __reduce__(self):
        return CellLoader, (self._loader, self._sweep)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def load_sweep_config(self, master_config, sweep_overrides: Sequence[str]):
        """The configuration of the job with these overrides. Raises what Hydra's loader raises."""
        from omegaconf import open_dict

        from sobench.config.grid import seedless

        cell, seed = seedless(sweep_overrides)
        if seed is None:
            return self._loader.load_sweep_config(master_config, list(sweep_overrides))
        key = (self._sweep, cell)
        if key not in _composed:
            while len(_composed) >= CELLS:
                _composed.pop(next(iter(_composed)))
            _composed[key] = pickle.dumps(self._loader.load_sweep_config(master_config, list(cell)))
        config = pickle.loads(_composed[key])
        with open_dict(config):
            config.seed = seed
            config.hydra.overrides.task = list(sweep_overrides)
        return config
