"""A run in a process that a launcher started, maybe on another machine: in its sweep's folder and environment. No torch."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sobench import garbage

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
                print(f"sobench: {self.place.folder}: cannot be entered on {socket.gethostname()} ({error.strerror}); "
                      "allowed: a folder that every machine of the sweep has", file=sys.stderr, flush=True)
                return None
            garbage.begin_job()
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
