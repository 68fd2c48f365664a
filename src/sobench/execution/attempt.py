"""One attempt at a run: hold its directory, resume it, train it, and write the result, whatever the outcome."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import torch

from sobench.config import plugins, registry
from sobench.config.run import Run
from sobench.errors import SobenchError, described, one_line
from sobench.results.fingerprint import fingerprint
from sobench.results.loggers.base import open_metrics
from sobench.results.maker import Maker
from sobench.results.rundir import Lost, Metrics, RunDirectory
from sobench.results.state import KEEPS
from sobench.system import environment, stopping
from sobench.system.files import parse_json
from sobench.training import checkpoint, snapshot
from sobench.training.trainer import ProgressCallback, Trainer


@contextmanager
def torch_defaults() -> Iterator[None]:
    """Inside, the settings of torch for the whole process are its defaults; afterwards they are those from before.

    The code of a plug-in may change them, and so may an exception that is raised between two statements of torch. No
    run depends on the runs before it in its process.
    """
    before = torch.is_grad_enabled(), torch.get_default_dtype(), torch.get_float32_matmul_precision()
    try:
        _set_torch(True, torch.float32, "highest")
        yield
    finally:
        _set_torch(*before)


def _set_torch(grad_enabled: bool, dtype: torch.dtype, precision: str) -> None:
    torch.set_grad_enabled(grad_enabled)
    torch.set_default_dtype(dtype)
    torch.set_float32_matmul_precision(precision)


def execute(
    run: Run, directory: RunDirectory, progress: ProgressCallback, say: Callable[[str], None]
) -> dict[str, Any]:
    """Train `run`, from its last checkpoint if there is one, and return its summary.

    A diverged run is a result. An exception of the optimizer or of the machine is one too: "failed", "out-of-memory"
    or "timed-out" with its reason, its traceback in error.txt. Raises SobenchError where Trainer does, and
    rundir.Held, before anything is written; rundir.Lost, if another process took the run over meanwhile; Stopped, after
    a checkpoint was saved, if the run is asked to stop.
    """
    for _, kind, name in plugins.parts(run.config):
        registry.load(kind, name)  # before the settings of torch are made: the import of a plug-in may change them
    with torch_defaults():
        return _attempt(run, directory, progress, say)


def _attempt(
    run: Run, directory: RunDirectory, progress: ProgressCallback, say: Callable[[str], None]
) -> dict[str, Any]:
    try:
        trainer = Trainer(run)
    except SobenchError:
        raise
    except Exception as error:  # out of memory, or the constructor of a plug-in
        return directory.refuse(_status(error), described(error), error)
    environment.reset_peak_memory(trainer.device)
    with directory.held(), stopping.listening(say):
        if finished := directory.finished():
            return finished.summary
        trainer, length = _resume(run, trainer, directory, lambda line: say(f"{directory.path}: {line}"))
        code_and_data = fingerprint(run.config, before=directory.path if length else None)
        of_others = {"plugins": found} if (found := plugins.plugins(run.config)) else {}
        directory.describe(
            environment.environment(trainer.device)
            | {"data": trainer.problem.data, "fingerprint": code_and_data, "made_by": asdict(Maker.this())}
            | of_others
        )
        record = open_metrics(directory, length)
        try:
            with stopping.time_limit(run.config["timeout"]) as check_time:
                save = _saver(directory, record, run.config["checkpoint"]["seconds"], check_time)
                summary = _train(trainer, record, save, progress, directory)
            directory.finish(summary, record.chain if summary["status"] in KEEPS else None)
            record.finish(summary)
        finally:
            record.leave()
        if summary["status"] in KEEPS:  # a run of any other status is tried again
            directory.check()
            checkpoint.clear(directory.path)
        return summary


def _resume(run: Run, trainer: Trainer, directory: RunDirectory, say: Callable[[str], None]) -> tuple[Trainer, int]:
    """The trainer at its last good checkpoint, and the length in bytes of the record up to there.

    Says where the run resumes, and what is damaged. Without a usable checkpoint the trainer starts at step 0, length 0.
    """
    saved, damage = checkpoint.load(directory.path, trainer.device)
    for line in damage:
        say(line)
    if saved:
        _restore_threads(run, directory)
        try:
            snapshot.restore(trainer, saved)
            say(f"resuming from step {trainer.step}")
            return trainer, saved["metrics_bytes"]
        except Exception as error:  # the code of the optimizer or the model has changed
            say(f"the checkpoint does not fit the present code ({one_line(error, 120)})")
            trainer = Trainer(run)
    if directory.metrics.exists():
        say("no checkpoint to resume from, starting over")
    return trainer, 0


def _restore_threads(run: Run, directory: RunDirectory) -> None:
    """Use as many threads as the run began with, unless `threads` is set: another number may round differently."""
    try:
        threads = parse_json((directory.path / "environment.json").read_text())["threads"]
    except (OSError, ValueError, KeyError):
        return
    if run.config["threads"] is None:
        torch.set_num_threads(threads)


def _train(
    trainer: Trainer,
    record: Metrics,
    save: Callable[[Trainer], None],
    progress: ProgressCallback,
    directory: RunDirectory,
) -> dict[str, Any]:
    """The summary of the training: done or diverged, or ended by an exception. Closes the record."""
    try:
        with trainer.watch.noticing_stops():
            reason = trainer.train(record, save, progress)
        return snapshot.summary(trainer, "diverged" if reason else "done", reason)
    except Lost:
        raise
    except Exception as error:
        directory.explain(error)
        return snapshot.summary(trainer, _status(error), f"{described(error)} (step {trainer.step})")
    finally:
        try:
            record.sync()
        finally:  # a file that is left open writes its last rows later, after the result
            record.close()


def _status(error: Exception) -> str:
    """The status of a run that was ended by this exception."""
    if isinstance(error, stopping.TimedOut):
        return "timed-out"
    used_up = isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "can't allocate memory" in str(error)
    return "out-of-memory" if used_up else "failed"


def _saver(
    directory: RunDirectory, record: Metrics, seconds: float, check_time: Callable[[], None]
) -> Callable[[Trainer], None]:
    """A function that saves a checkpoint, at most every `seconds`.

    If the run is asked to stop, the function saves one at once and raises Stopped. It raises TimedOut after the time
    limit of the run.
    """
    last = time.monotonic()

    def save(trainer: Trainer) -> None:
        nonlocal last
        check_time()
        stopped_by = stopping.asked()
        if stopped_by is None and time.monotonic() - last < seconds:
            return
        of_record = {"metrics_bytes": record.sync(), "metrics_sha256": record.chain}
        checkpoint.save(directory.path, snapshot.state(trainer) | of_record, directory.check)
        last = time.monotonic()
        if stopped_by:
            raise stopping.Stopped(stopped_by)

    return save
