"""The process that made a run, as the run's environment.json names it. No torch."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from pathlib import Path

from sobench.system import stopping
from sobench.system.files import parse_json


@dataclass(frozen=True)
class Maker:
    """A process, and its sweep: the name of the sweep's file, None for a single run."""

    pid: int
    host: str
    sweep: str | None

    @classmethod
    def this(cls) -> Maker:
        """This process."""
        return cls(os.getpid(), socket.gethostname(), stopping.sweep_file().stem if stopping.in_sweep() else None)

    @classmethod
    def of(cls, directory: Path) -> Maker | None:
        """The process that made the run in this directory; None where that is not recorded."""
        try:
            return cls(**parse_json((directory / "environment.json").read_bytes())["made_by"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    @property
    def is_this_sweep(self) -> bool:
        """Whether it belongs to the sweep of this process."""
        return stopping.in_sweep() and self.sweep == stopping.sweep_file().stem

    def __str__(self) -> str:
        """ "process 71 on here" """
        return f"process {self.pid} on {self.host}"
