"""One run in its directory: held, resumed, trained, and its result written whatever it is."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import torch

from sobench.config.run import Run
from sobench.errors import SobenchError, described
from sobench.results.fingerprint import fingerprint
from sobench.results.loggers.base import open_metrics
from sobench.results.rundir import Metrics, RunDirectory
from sobench.results.state import KEEPS
from sobench.system import environment, stopping
from sobench.training import checkpoint, snapshot
from sobench.training.trainer import Report, Trainer


def execute(run: Run, directory: RunDirectory, progress: Report, say: Callable[[str], None]) -> dict[str, Any]:
    """Train `run`, from its last checkpoint if there is one, and return its summary.

    A diverged run is a result. An exception of the optimizer or of the machine is one too: "failed", "out-of-memory" or
    "timed-out" with its reason, its traceback in error.txt. Raises SobenchError where Trainer does, and rundir.Held, before
    anything is written; Stopped where it was asked to stop, with a checkpoint.
    """
    try:
        trainer = Trainer(run)
    except SobenchError:
        raise
    except Exception as error:  # out of memory, a constructor of a plug-in
        return directory.refuse(_status(error), described(error), error)
    environment.reset_peak_memory(trainer.device)
    with directory.held(), stopping.listening(say):
        if found := directory.finished():
            return found.summary
        trainer, written = _resumed(run, trainer, directory, lambda line: say(f"{directory.path}: {line}"))
        made_with = fingerprint(run.config, before=directory.path if written else None)
        directory.describe(
            environment.environment(trainer.device) | {"data": trainer.problem.data, "fingerprint": made_with}
        )
        record = open_metrics(directory, written)
        save = _saver(directory, record, run.config["checkpoint"]["seconds"])
        with stopping.time_limit(run.config["timeout"]):
            summary = _attempt(trainer, record, save, progress, directory)
        directory.finish(summary)
        record.finish(summary)
        if summary["status"] in KEEPS:  # any other is tried again
            checkpoint.clear(directory.path)
        return summary


def _resumed(run: Run, trainer: Trainer, directory: RunDirectory, say: Callable[[str], None]) -> tuple[Trainer, int]:
    """The trainer at the last good checkpoint, and how much of the record it stands on; says what was found."""
    saved, damage = checkpoint.load(directory.path, trainer.device)
    for line in (directory.damage(), *damage):
        if line:
            say(line)
    if saved:
        _same_threads(run, directory)
        try:
            snapshot.restore(trainer, saved)
            say(f"going on from step {trainer.step}")
            return trainer, saved["metrics_bytes"]
        except Exception as error:  # the optimizer or the model is another one than it was
            say(f"its checkpoint does not fit the code as it is now ({' '.join(str(error).split()):.120})")
            trainer = Trainer(run)
    if directory.metrics.exists():
        say("no checkpoint to go on from, starting over")
    return trainer, 0


def _same_threads(run: Run, directory: RunDirectory) -> None:
    """Go on with as many threads as the run was begun with: another number may round otherwise."""
    try:
        begun = json.loads((directory.path / "environment.json").read_text())["threads"]
    except (OSError, ValueError, KeyError):
        return
    if run.config["threads"] is None:
        torch.set_num_threads(begun)


def _attempt(trainer: Trainer, record: Metrics, save, progress: Report, directory: RunDirectory) -> dict[str, Any]:
    try:
        reason = trainer.train(record, save, progress)
        return snapshot.summary(trainer, "diverged" if reason else "done", reason)
    except Exception as error:
        directory.explain(error)
        return snapshot.summary(trainer, _status(error), f"{described(error)} (step {trainer.step})")
    finally:
        record.sync()
        record.close()


def _status(error: Exception) -> str:
    """What a run has come to by an exception."""
    if isinstance(error, stopping.TimedOut):
        return "timed-out"
    used_up = isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "can't allocate memory" in str(error)
    return "out-of-memory" if used_up else "failed"


def _saver(directory: RunDirectory, record: Metrics, seconds: float) -> Callable[[Trainer], None]:
    """Saves a checkpoint, but not more often than every `seconds`; and when the run is asked to stop, which it then does."""
    last = time.monotonic()

    def save(trainer: Trainer) -> None:
        nonlocal last
        by = stopping.asked()
        if by is None and time.monotonic() - last < seconds:
            return
        checkpoint.save(directory.path, {**snapshot.state(trainer), "metrics_bytes": record.sync()})
        last = time.monotonic()
        if by:
            raise stopping.Stopped(by)

    return save
