"""What a logger is told of a run, and the record that tells it: whatever the logger does, the record and the run go on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pkgutil import resolve_name
from typing import Any

from sobench.config.registry import warn
from sobench.config.secrets import hide
from sobench.results.axes import POSITION
from sobench.results.loggers import LOGGERS
from sobench.results.rundir import Metrics, RunDirectory


class Logger:
    """A mirror of a run's record, and itself the one that mirrors nothing.

    `start` comes when the run's directory says what it is and its record is cut to the checkpoint: what is in there is to be
    mirrored too, once. Nothing may wait for a network or a lock: `start`, `row` and `flush` are called between steps.
    """

    def __init__(self, directory: RunDirectory):
        self.directory = directory
        self.settings = directory.run.config["logger"]

    def start(self) -> None:
        """The run begins, or goes on."""

    def row(self, row: Mapping[str, Any]) -> None:
        """A row was appended to the record."""

    def flush(self) -> None:
        """The record was forced to the disk: a checkpoint, or its end."""

    def finish(self, summary: Mapping[str, Any]) -> None:
        """The run is over and its summary written."""


class Mirrored(Metrics):
    """metrics.jsonl, with a logger that is told of every row. What the logger raises is one warning, and ends the mirror."""

    def __init__(self, directory: RunDirectory, offset: int, make: Callable[[], Logger]):
        super().__init__(directory.metrics, offset)
        self._directory, self._logger = directory, None
        try:
            self._logger = make()
        except (Exception, SystemExit) as error:  # whatever a package's import raises
            self._give_up(error)
        self._tell("start")

    def append(self, row: Mapping[str, Any]) -> None:
        super().append(row)
        self._tell("row", row)

    def sync(self) -> int:
        length = super().sync()
        self._tell("flush")
        return length

    def finish(self, summary: Mapping[str, Any]) -> None:
        self._tell("finish", summary)

    def _tell(self, what: str, *about: Any) -> None:
        if self._logger is None:
            return
        try:
            getattr(self._logger, what)(*about)
        except (Exception, SystemExit) as error:
            self._give_up(error)

    def _give_up(self, error: BaseException) -> None:
        self._logger = None
        name = self._directory.run.config["logger"]["name"]
        warn(f"logger: {name} failed ({one_line(error)}); the run goes on, its record is in {self._directory.path}")


def one_line(error: BaseException) -> str:
    """An exception in a line of at most 200 characters, without secrets."""
    return hide(f"{type(error).__name__}: {' '.join(str(error).split())}")[:200].removesuffix(": ")


def named(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row with its columns named apart by its kind, where it is apart: {"step": 3, "train/loss": 0.1}."""
    return {key if key in POSITION else f"{row['kind']}/{key}": value for key, value in row.items() if key != "kind"}


def mirrored(directory: RunDirectory, offset: int) -> Mirrored:
    """The record of a run, open at `offset` bytes, with the logger that the run's settings choose. Raises what Metrics does,
    and nothing for the logger."""
    return Mirrored(directory, offset, lambda: resolve_name(LOGGERS[directory.run.config["logger"]["name"]])(directory))
