"""The interface of a logger, and the record that calls it. A failing logger stops neither record nor run."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from sobench.config import registry, signature
from sobench.config.registry import warn
from sobench.config.run import Run
from sobench.config.secrets import hide
from sobench.config.validation import loggers
from sobench.errors import one_line
from sobench.results.axes import POSITION
from sobench.results.rundir import Metrics, RunDirectory
from sobench.system import stopping

LONGEST = 200
"""Characters of an exception that a warning repeats at most."""


class Logger:
    """A copy of a run's record in another format; the base class copies nothing.

    `start` is called when the run's directory is complete and its record is cut to the checkpoint; the rows that the
    record has by then must be copied too, once. `start`, `row` and `flush` are called between steps: they may wait
    neither for a network nor for a lock.
    """

    def __init__(self, directory: RunDirectory):
        self.directory = directory
        self.settings = directory.run.config["logger"]

    def start(self) -> None:
        """The run begins or resumes."""

    def row(self, row: Mapping[str, Any]) -> None:
        """A row was appended to the record."""

    def flush(self) -> None:
        """The record was forced to the disk, for a checkpoint or at its end."""

    def finish(self, summary: Mapping[str, Any]) -> None:
        """The run is over and its summary is written."""

    def close(self) -> None:
        """The process leaves the run: after `finish`, or without it if the run was interrupted."""

    @classmethod
    def incomplete(cls, runs: Sequence[Run]) -> str | None:
        """Called at the end of a sweep, with runs of the same logger settings, in whichever processes they were made.

        Waits for their copies, within a limit of time. Returns one line about what they lack and how to complete them;
        None if they lack nothing. A logger that copies before `row`, `flush` and `finish` return has nothing to do.
        """
        return None


class MirroredMetrics(Metrics):
    """metrics.jsonl with loggers, each called for every row until it raises, which becomes one warning.

    make: by name, a function that makes the logger.
    """

    def __init__(self, directory: RunDirectory, offset: int, make: Mapping[str, Callable[[], Logger]]):
        super().__init__(directory.metrics, offset, directory.check)
        self._directory = directory
        self._loggers: dict[str, Logger] = {}
        for name, make_logger in make.items():
            try:
                self._loggers[name] = make_logger()
            except (Exception, SystemExit) as error:  # the import of a package may raise either
                self._give_up(name, error)
        self._call("start")

    def append(self, row: Mapping[str, Any]) -> None:
        super().append(row)
        self._call("row", row)

    def sync(self) -> int:
        length = super().sync()
        self._call("flush")
        return length

    def finish(self, summary: Mapping[str, Any]) -> None:
        self._call("finish", summary)

    def leave(self) -> None:
        """Let the loggers go, whether the run has a result or was interrupted."""
        self._call("close")

    def _call(self, method: str, *arguments: Any) -> None:
        for name, logger in list(self._loggers.items()):
            try:
                getattr(logger, method)(*arguments)
            except stopping.TimedOut:  # the time limit of the run, which may end any statement
                raise
            except (Exception, SystemExit) as error:
                self._give_up(name, error)

    def _give_up(self, name: str, error: BaseException) -> None:
        self._loggers.pop(name, None)
        warn(f"logger: {name} failed ({reason_of(error)}); the run goes on, its record is in {self._directory.path}")


def open_metrics(directory: RunDirectory, offset: int) -> MirroredMetrics:
    """The record of a run, open at `offset` bytes, with the loggers of the run's settings.

    Raises what `Metrics` raises; an exception of a logger is a warning.
    """
    names = loggers(directory.run.config["logger"])
    return MirroredMetrics(directory, offset, {name: partial(_make, name, directory) for name in names})


def _make(name: str, directory: RunDirectory) -> Logger:
    """The logger of this name. Imported only here, so that a broken or slow one does not affect the others."""
    own = {key: value for key, value in directory.run.config["logger"].items() if key not in ("name", "copies")}
    return signature.call("logger", name, {"directory": directory}, own)


def incomplete(runs: Sequence[Run]) -> list[str]:
    """Wait for the copies of a sweep's runs, see `Logger.incomplete`. One line for each logger that lacks something."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(json.dumps([run.config["logger"], run.config["runs"]], sort_keys=True), []).append(run)
    by_logger = [(name, of) for of in groups.values() for name in loggers(of[0].config["logger"])]
    lines = [_lacking(name, of) for name, of in by_logger]
    return [line for line in lines if line]


def _lacking(name: str, runs: Sequence[Run]) -> str | None:
    """What the copies of one logger lack, in one line."""
    try:
        return registry.load("loggers", name).incomplete(runs)
    except Exception as error:
        return f"logger: {name} failed ({reason_of(error)})"


def reason_of(error: BaseException) -> str:
    """An exception in one line of at most LONGEST characters, without secrets."""
    return hide(one_line(f"{type(error).__name__}: {error}"))[:LONGEST].removesuffix(":")


PLACES = ("step", "epoch")
"""Columns of the position whose names are shown as they are: the x-axes that every tool offers."""
SETS = ("train", "validation", "test")


def named(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row with the names under which tools group its columns: {"step": 3, "test/loss": 0.1, "cost/seconds": 2.0}."""
    return {shown_as(key, row["kind"]): value for key, value in row.items() if key != "kind"}


def shown_as(column: str, kind: str) -> str:
    """The name of a column of the record in wandb and TensorBoard. kind: that of its rows, train or eval.

    Losses and metrics are grouped by the samples that they are taken on (`train/loss` of the whole training set,
    `train/batch_loss` of the step's mini-batch), costs under `cost/`, and what an optimizer or an instrument records
    under `diagnostics/`.
    """
    if column in PLACES:
        return column
    if column in POSITION:
        return f"cost/{column}"
    if kind == "train":
        return "train/batch_loss" if column == "loss" else f"diagnostics/{column}"
    samples, _, metric = column.partition("_")
    return f"{samples}/{metric}" if samples in SETS and metric else f"diagnostics/{column}"
