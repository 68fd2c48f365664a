"""One task: run one configuration, unless it has a result, and record the outcome.

torch is not imported before a run has to be trained.
"""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sobench.config.identity import plain
from sobench.config.run import Run
from sobench.errors import Failure, SobenchError, Unsupported
from sobench.results.old import OLD, move_to_old
from sobench.results.rundir import Held, Lost, RunDirectory
from sobench.results.stale import Judge
from sobench.results.state import DAMAGED, KEEPS, State
from sobench.results.sweeps import name_of
from sobench.system import interpreter, stopping
from sobench.system.output import say
from sobench.system.text import plural

if TYPE_CHECKING:
    from sobench.execution.display import Display

exit_code = 0
"""Exit code of the command, set by the runs that are made in this process."""

made: dict[str, Run] = {}
"""The runs that the command made, or that had a result already, by id."""


def begin() -> None:
    """Begin a command: no run has been made."""
    global exit_code
    exit_code = 0
    made.clear()


def task(config: Any) -> Mapping[str, Any] | None:
    """Hydra's task function: make one run of a sweep, or a single run.

    Returns the summary; None if the run was not made: the sweep or the run was stopped, another process is running
    it, or a single run could not start. In a sweep no error is raised: an error is the result of its run. Otherwise
    raises Stopped, and any error that is no SobenchError.
    """
    in_sweep = stopping.in_sweep()
    if in_sweep and stopping.asked():
        return None
    try:
        run = Run.of(plain(config))
    except SobenchError as error:
        if in_sweep:
            raise
        return _report_error(error)
    return make(run, _sweep_label())


def make(run: Run, label: str = "") -> Mapping[str, Any] | None:
    """Make one run, of a sweep or by itself. label: its number in the sweep, "3/15". Returns and raises as `task`."""
    global exit_code
    in_sweep = stopping.in_sweep()
    try:
        summary = ensure_result(run, label)
    except stopping.Stopped:
        if not in_sweep:
            raise
        return None  # a later command resumes it
    except Exception as error:
        if not in_sweep:
            return _report_error(error)
        if isinstance(error, Held):
            if isinstance(error, Lost):
                say(str(error))
            return None  # another process makes it
        summary = record_failure(run, error)
    if not in_sweep:
        made[run.id] = run
    if summary["status"] not in (*KEEPS, "skipped"):
        exit_code = max(exit_code, 1)
        if in_sweep and run.config["sweep"]["fail_fast"]:
            stopping.stop_file().touch()
    return summary


def _report_error(error: Exception) -> None:
    """Report in one line why a single run could not start, and set the exit code. Re-raises an unexpected error."""
    global exit_code
    if not isinstance(error, SobenchError):
        raise error
    say(f"sobench: {error}", file=sys.stderr)  # raised, it would reach Hydra, which adds lines of its own
    exit_code = error.exit_code


def record_failure(run: Run, error: Exception) -> dict[str, Any]:
    """Record the error that kept a run of a sweep from starting as its result. Returns the summary, written or not."""
    if isinstance(error, SobenchError):
        reason = str(error)
        say(f"sobench: {reason}", file=sys.stderr)
    else:
        reason = f"{type(error).__name__}: {error}"
        say("".join(traceback.format_exception(error)).rstrip(), file=sys.stderr)
    with suppress(SobenchError):
        return RunDirectory(run, run.config["runs"]).refuse("failed", reason)
    return {"status": "failed", "reason": reason}


def ensure_result(run: Run, label: str = "") -> Mapping[str, Any]:
    """Train a run, unless it has a result. Returns the summary. label: the number of the run in its sweep, "3/15".

    Raises SobenchError if the run cannot start, and Stopped. In a sweep, a run whose optimizer does not support its
    problem is recorded as `skipped`.
    """
    from sobench.execution.display import Display

    directory = RunDirectory(run, run.config["runs"])
    finished, stale_by = standing_result(run, directory, Judge())
    if finished:
        say(f"{name_of(run)}: already {finished.status}, nothing to do: {directory.path}")
    if stale_by:
        say(f"made by {stale_by}; {again('it', run)}")
    if finished:
        return finished.summary
    prepare_data([run])
    display = Display(name_of(run), enabled=run.config["progress"], label=label)
    try:
        with display:
            summary = _train(run, directory, display)
    except Unsupported as error:
        if not stopping.in_sweep():
            raise
        summary = directory.refuse("skipped", str(error))
    display.finish(summary, directory.path)
    return summary


def _train(run: Run, directory: RunDirectory, display: Display) -> dict[str, Any]:
    """Lease cores or a GPU and train the run there, in a process of its own if it asks for one. Returns the summary."""
    from sobench.execution import isolation

    with interpreter.paused_gc():
        from sobench.system import leases

        if isolation.isolated(run.config):
            execute = isolation.execute_isolated
        else:
            from sobench.execution.attempt import execute
    with leases.leased(run.config, run.slug, display.say) as lease, stopping.listening(display.say):
        summary = execute(replace(run, config=lease.placed(run.config)), directory, display.update, display.say)
    if lease.shared and not summary.get("shared") and "finished" not in summary:  # another run joined its GPU later
        summary = {**summary, "shared": True}
        with directory.held():
            directory.amend(shared=True)
    return summary


def prepare_data(runs: Sequence[Run]) -> None:
    """Download the missing files of the runs' data sets.

    Raises Failure with everything that cannot be had, and the data sets of the runs that can be made without it.
    """
    from sobench.data import Store, prepare

    runs_on: dict[str, list[Run]] = {}
    for run in runs:
        request = json.dumps([run.config["dataset"], *run.config["data"].values()], sort_keys=True)
        runs_on.setdefault(request, []).append(run)
    failures: dict[str, str] = {}
    for request in sorted(runs_on):
        dataset, mirror, cache = json.loads(request)
        try:
            prepare(dataset, Store.default(mirror, cache))
        except Failure as failure:
            failures[request] = str(failure)
    if failures:
        lacking = [run for request in failures for run in runs_on[request]]
        others = [run for request in runs_on.keys() - failures.keys() for run in runs_on[request]]
        raise Failure(_cannot_be_had(list(failures.values()), lacking, others))


def _cannot_be_had(reasons: Sequence[str], lacking: Sequence[Run], others: Sequence[Run]) -> str:
    """The message: a line for each source that cannot be had, and what selects the other runs."""
    lines = list(dict.fromkeys(line for reason in reasons for line in reason.splitlines()))
    choices = _data_sets(others) - _data_sets(lacking)
    rest = f"; without it: dataset={','.join(sorted(choices))}" if choices else ""
    if not lines[1:]:
        return lines[0] + rest
    count = f"{len(lacking)} of {plural(len(lacking) + len(others), 'run')}"
    return "\n  ".join([f"the data of {count} cannot be had, and nothing was run{rest}", *lines])


def _data_sets(runs: Sequence[Run]) -> set[str]:
    """The names by which the overrides of the runs choose data sets."""
    words = {word for run in runs for word in run.overrides if word.startswith("dataset=")}
    return {word.partition("=")[2] for word in words}


def finished_state(run: Run, directory: RunDirectory) -> State | None:
    """The state of a run that has a result, else None.

    Of a damaged run, run.json and config.yaml are rewritten. If another file is damaged, there is no result: the files
    are moved to runs/.old, and the run is made again, from its last checkpoint if there is one.
    """
    with suppress(Held):
        if names := directory.mend():
            say(f"{directory.path}: {' and '.join(names)} could not be read and was rewritten")
    state = directory.state()
    if state.status == DAMAGED:
        resumes = any(directory.path.glob("checkpoint*.pt"))
        if move_to_old(Path(run.config["runs"]), run.slug, resumes, still=directory.damaged):
            say(f"{directory.path}: {state.reason}; {made_again(run)}")
    return state if state.status in KEEPS else None


def standing_result(run: Run, directory: RunDirectory, judge: Judge) -> tuple[State | None, str | None]:
    """The state of a run that need not be made, else None; and the reason why its result is stale, None if it is not.

    With `rerun=stale` a stale result does not stand: its files are moved to runs/.old.
    """
    finished = finished_state(run, directory)
    stale_by = judge.reason(directory.path, run.config) if finished else None
    if stale_by and run.config["rerun"] == "stale":
        move_to_old(Path(run.config["runs"]), run.slug)
        return None, stale_by
    return finished, stale_by


def again(what: str, run: Run) -> str:
    """What becomes of a stale result, `what`, or which setting makes it again."""
    return made_again(run) if run.config["rerun"] == "stale" else f"to make {what} again: rerun=stale"


def made_again(run: Run) -> str:
    return f"made again, the old files are in {Path(run.config['runs'], OLD)}"


def _sweep_label() -> str:
    """ "3/15" for the third of the 15 runs that a sweep makes, "" for a single run"""
    if not stopping.in_sweep():
        return ""
    from sobench.config.hydra_private import job_number

    return f"{job_number() + 1}/{stopping.sweep_size()}"
