"""What happens around a run: is it done already, say so; else train it, show it, record how it ended. No torch here until a run
has to be trained."""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from sobench.config.identity import plain
from sobench.config.run import Run
from sobench.errors import SobenchError, Unsupported
from sobench.results.rundir import Held, RunDirectory
from sobench.results.state import KEEPS, State
from sobench.system import interpreter, stopping

exit_code = 0
"""Of the command, set by the runs it made in this process."""


def task(config) -> dict[str, Any] | None:
    """Hydra's task function: one run, whatever becomes of it. Returns its summary; None for one that was left alone."""
    global exit_code
    sweep = stopping.in_sweep()
    if sweep and stopping.asked():
        return None
    try:
        run = Run.of(plain(config))
        summary = perform(run)
    except stopping.Stopped:
        if not sweep:
            raise
        return None  # it goes on from its checkpoint some day
    except Exception as error:
        if not sweep:
            return _refused(error)
        if isinstance(error, Held):
            return None  # another process makes it
        summary = recorded(run, error)
    if summary["status"] not in (*KEEPS, "skipped"):
        exit_code = max(exit_code, 1)
        if sweep and run.config["sweep"]["fail_fast"]:
            stopping.stop_file().touch()
    return summary


def _refused(error: Exception) -> None:
    """A single run that could not begin, or was not this one's to make: one line. Raises what is no error of sobench's."""
    global exit_code
    if not isinstance(error, SobenchError):
        raise error
    say(f"sobench: {error}", file=sys.stderr)  # Hydra would add lines of its own
    exit_code = error.exit_code


def recorded(run: Run, error: Exception) -> dict[str, Any]:
    """In a sweep an error that ended a run before it began is the run's result, unless not even that can be written."""
    known = isinstance(error, SobenchError)
    reason = str(error) if known else f"{type(error).__name__}: {error}"
    say(f"sobench: {reason}" if known else "".join(traceback.format_exception(error)).rstrip(), file=sys.stderr)
    with suppress(SobenchError):
        return RunDirectory(run, run.config["runs"]).refuse("failed", reason)
    return {"status": "failed", "reason": reason}


def perform(run: Run) -> dict[str, Any]:
    """Train a run unless its result stands; a sweep records what its problem cannot serve as `skipped`."""
    from sobench.execution.display import Display

    directory = RunDirectory(run, run.config["runs"])
    if found := finished(directory):
        say(f"{run.name}: already {found.status}, nothing to do: {directory.path}")
        return found.summary
    fetch_data([run])
    display = Display(run, enabled=run.config["progress"], label=_label())
    try:
        with display:
            summary = _trained(run, directory, display)
    except Unsupported as error:
        if not stopping.in_sweep():
            raise
        summary = directory.refuse("skipped", str(error))
    display.finish(summary, directory.path)
    return summary


def _trained(run: Run, directory: RunDirectory, display) -> dict[str, Any]:
    """The summary of a run that has been trained where its lease says, in a process of its own if it asks for one."""
    from sobench.execution import isolation

    with interpreter.paused_gc():
        from sobench.system import leases

        if isolation.isolated(run.config):
            execute = isolation.execute_apart
        else:
            import torch._dynamo  # noqa: F401 - torch.optim's optimizers load it when they are made

            from sobench.execution.attempt import execute
    with leases.leased(run.config, run.slug, display.say) as lease, stopping.listening(display.say):
        summary = execute(replace(run, config=lease.placed(run.config)), directory, display.update, display.say)
    if lease.shared and not summary.get("shared") and "finished" not in summary:  # its GPU was its own when it began
        summary = {**summary, "shared": True}
        with directory.held():
            directory.finish(summary)
    return summary


def fetch_data(runs: Sequence[Run]) -> None:
    """Have every declared file of the runs' data sets at hand. Raises Failure before anything starts."""
    from sobench.data import Store, prepare

    wanted = {json.dumps([run.config["dataset"], *run.config["data"].values()], sort_keys=True) for run in runs}
    for dataset, mirror, cache in map(json.loads, sorted(wanted)):
        prepare(dataset, Store.default(mirror, cache))


def finished(directory: RunDirectory) -> State | None:
    """The state of a run whose result stands, else None."""
    found = directory.finished()
    if found and directory.mend():
        say(f"{directory.path}: run.json could not be read, written again")
    return found


def say(line: str, file=None) -> None:
    print(line, file=file or sys.stdout, flush=True)


def _label() -> str:
    """'3/15' in a sweep, else ''."""
    if not stopping.in_sweep():
        return ""
    from sobench.config.hydra_private import job_number

    return f"{job_number() + 1}/{stopping.sweep_size()}"
