"""What happens around a run: is it done already, say so; else train it, show it, and count how a sweep ended. No torch here
until a run has to be trained."""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections import Counter
from collections.abc import Sequence
from typing import Any

from sobench.config import plain
from sobench.errors import SobenchError, Unsupported
from sobench.grid import Run
from sobench.results.rundir import KEEPS, RunDirectory
from sobench.results.state import State, state

SWEEP = "SOBENCH_SWEEP"
"""Environment variable: how many runs the sweep has to make; worker processes inherit it."""

exit_code = 0
"""Of the command, set by the runs it made in this process."""


def task(config) -> dict[str, Any] | None:
    """Hydra's task function: one run, whatever becomes of it. Returns its summary."""
    global exit_code
    try:
        summary = perform(Run.of(plain(config)))
    except SobenchError as error:
        say(f"sobench: {error}", file=sys.stderr)
        exit_code = max(exit_code, 1 if _in_sweep() else error.exit_code)
        return None
    except Exception:
        if not _in_sweep():
            raise
        traceback.print_exc()  # Hydra would keep it to itself; the other runs go on
        exit_code = 1
        return None
    if summary["status"] not in (*KEEPS, "skipped"):
        exit_code = max(exit_code, 1)
    return summary


def perform(run: Run) -> dict[str, Any]:
    """Train a run unless its result stands; a sweep records what its problem cannot serve as `skipped`."""
    from sobench.display import Display

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
        if not _in_sweep():
            raise
        summary = skip(directory, str(error))
    display.finish(summary, directory.path)
    return summary


def _trained(run: Run, directory: RunDirectory, display) -> dict[str, Any]:
    """The summary of a run that has been trained where its lease says, in a process of its own if it asks for one."""
    from sobench import execution, isolation, slots

    execute = isolation.execute_apart if isolation.isolated(run.config) else execution.execute
    with slots.leased(run.config, display.say) as lease:
        summary = execute(lease.placed(run), directory, display.update, display.say)
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


def skip(directory: RunDirectory, reason: str) -> dict[str, Any]:
    """Record that the problem cannot serve this optimizer."""
    with directory.held():
        directory.describe({})
        return directory.refuse("skipped", reason)


def open_sweep(runs: Sequence[Run]) -> list[Run]:
    """The runs that have no result yet; says how many there are of each."""
    pending = [run for run in runs if not finished(RunDirectory(run, run.config["runs"]))]
    done = len(runs) - len(pending)
    if not pending:
        say(f"{len(runs)} runs: all done already, nothing to do")
        return []
    fetch_data(pending)
    say(f"{len(runs)} runs: {f'{done} done already, ' if done else ''}{len(pending)} to make")
    os.environ[SWEEP] = str(len(pending))
    return pending


def close_sweep(runs: Sequence[Run]) -> None:
    """Say how many runs ended how."""
    global exit_code
    os.environ.pop(SWEEP, None)
    counts = Counter(state(run.directory(run.config["runs"])).status for run in runs)
    say(f"{len(runs)} runs: " + ", ".join(f"{n} {status}" for status, n in counts.most_common()))
    if any(status not in (*KEEPS, "skipped") for status in counts):
        exit_code = max(exit_code, 1)


def say(line: str, file=None) -> None:
    print(line, file=file or sys.stdout, flush=True)


def _in_sweep() -> bool:
    return SWEEP in os.environ


def _label() -> str:
    """'3/15' in a sweep, else ''."""
    if not _in_sweep():
        return ""
    from hydra.core.hydra_config import HydraConfig

    return f"{HydraConfig.get().job.num + 1}/{os.environ[SWEEP]}"
