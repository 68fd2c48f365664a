"""A sweep: which of its runs to launch, again and again, until every one has ended. No torch.

    with Sweep(runs, launcher) as sweep:
        while jobs := sweep.todo():
            with sweep.launching(jobs):
                ...launch them...

A run that another process is making is left to that process, and is launched here if that process is lost. So two
sweeps over one grid divide the work, and a sweep whose workers are killed restarts their runs, from their
checkpoints. A run that ended in an error is tried again by the next sweep, not by this one.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

from sobench.config.names import part_of_data
from sobench.config.run import Run
from sobench.errors import Failure, SobenchError
from sobench.execution import task
from sobench.execution.display import live_table
from sobench.execution.task import again, prepare_data, standing_result
from sobench.results import sweeps
from sobench.results.loggers import base as loggers
from sobench.results.maker import Maker
from sobench.results.rundir import RunDirectory
from sobench.results.stale import Judge
from sobench.results.state import DAMAGED, KEEPS, State
from sobench.system import stopping
from sobench.system.files import discard
from sobench.system.output import say
from sobench.system.text import plural

POLL = 0.5
"""Seconds between two looks at the runs of other processes."""

LOSSES = 3
"""Times in a row that a launch may make no progress before the sweep ends with an error."""


class Sweep:
    """A sweep over these runs. Prints at its beginning how many are done and to run, and at its end their states."""

    def __init__(self, runs: Sequence[Run], launcher: str):
        self.runs, self.launcher = runs, launcher
        self._directories = {run.id: RunDirectory(run, run.config["runs"]) for run in runs}
        self._pending: list[Run] = []
        self._abandoned: set[str] = set()
        self._losses = 0
        self._waited = False
        self._exits = ExitStack()

    def __enter__(self) -> Sweep:
        finished: list[State] = []
        stale: Counter[str] = Counter()
        judge = Judge()
        for run in self.runs:
            state, stale_by = standing_result(run, self._directories[run.id], judge)
            if state:
                finished.append(state)
            else:
                self._pending.append(run)
            if stale_by:
                stale[f"made by {stale_by}; {again('them', run)}"] += 1
        for line, number in stale.items():
            say(f"{plural(number, 'result')} {line}")
        counts = _counts(state.status for state in finished)
        total = plural(len(self.runs), "run")
        if not self._pending:
            say(f"{total}: {counts}; nothing to do")
            return self
        prepare_data(self._pending)
        parts = {part_of_data(run.config["budget"]) for run in self._pending}
        say(f"{total}: {f'{counts}, ' if finished else ''}{len(self._pending):,} to run{' or'.join(sorted(parts))}")
        self._results_before = {run.id: self._result_time(run) for run in self._pending}
        with ExitStack() as exits:
            file = exits.enter_context(sweeps.Sweep(self._pending[0].config["runs"], self._pending)).path
            os.environ[stopping.SWEEP] = f"{len(self._pending)}:{file.absolute()}"
            self._stop_file = stopping.stop_file()
            exits.callback(discard, self._stop_file)
            exits.callback(os.environ.pop, stopping.SWEEP)
            exits.enter_context(live_table(self._pending))
            exits.enter_context(stopping.listening(self._stop))
            self._exits = exits.pop_all()  # all have been entered: `__exit__` leaves them
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        """Raises Stopped if a signal stopped the sweep."""
        task.made.update({run.id: run for run in self.runs})
        if not self._pending:
            return
        with self._exits:
            incomplete = loggers.incomplete(self._pending) if kind is None or issubclass(kind, Exception) else []
            signal, stopped, by_others = stopping.received(), self._stop_file.exists(), self._by_others()
        states = [directory.state().status for directory in self._directories.values()]
        say(f"{plural(len(self.runs), 'run')}: {_counts(states)}{by_others}")
        if any(status not in (*KEEPS, "skipped") for status in states):
            task.exit_code = max(task.exit_code, 1)
        if stopped and not signal:
            say("sweep.fail_fast: a run failed, the others were stopped; repeat the command to run them")
        for line in incomplete:
            say(line)
        if signal and kind is None:
            raise stopping.Stopped(signal)

    def todo(self) -> list[Run]:
        """The runs to launch now; none if all have ended, or if the sweep is to stop.

        Waits while other processes are making all runs that are left.
        """
        while not stopping.asked():
            left = [run for run in self._pending if not self._ended(run)]
            free = [run for run in left if not self._directories[run.id].taken()]
            if free or not left:
                return free
            if not self._waited:
                say(f"waiting for {plural(len(left), 'run')} that other processes are making")
                self._waited = True
            time.sleep(POLL)
        return []

    @contextmanager
    def launching(self, jobs: Sequence[Run]) -> Iterator[None]:
        """Surrounds one launch of these runs. If the launcher fails, a worker was lost; its runs are launched again.

        Raises Failure if LOSSES launches in a row fail without progress, and any SobenchError of the launcher.
        """
        before, failure = self._progress(jobs), None
        try:
            yield
        except SobenchError:
            raise
        except Exception as error:
            failure = error
        if failure is None:  # every run was started: one that left no trace cannot start
            self._abandoned |= {run.id for run in jobs if self._state(run).status == "missing"}
        self._losses = 0 if self._progress(jobs) != before else self._losses + 1
        if self._losses == LOSSES:
            self._abandoned |= {run.id for run in jobs}
            if failure:
                raise Failure(
                    f"hydra/launcher: {self.launcher} made no progress {LOSSES} times in a row "
                    f"({_first_and_last_line(failure)}); repeat the command to run what is missing"
                ) from failure
        elif failure and not stopping.asked():
            say(f"a worker was lost ({_first_and_last_line(failure)}), restarting its runs")

    def _by_others(self) -> str:
        """ "; 3 of them made by process 71 on here": the runs that were to be made, and that another command made.

        Inside the sweep: `Maker` knows this sweep by the environment of its processes.
        """
        ended = [run for run in self._pending if run.id not in self._abandoned and self._ended(run)]
        of_runs = [Maker.of(self._directories[run.id].path) for run in ended]
        makers = [maker for maker in of_runs if maker and not maker.is_this_sweep]
        by = ", ".join(sorted({str(maker) for maker in makers}))
        return f"; {len(makers):,} of them made by {by}" if makers else ""

    def _stop(self, line: str) -> None:
        """On a signal: print the line, and ask all workers to stop."""
        say(line)
        self._stop_file.touch()

    def _ended(self, run: Run) -> bool:
        """Whether the run is abandoned, has a result that stands, or ended otherwise during this sweep."""
        if run.id in self._abandoned:
            return True
        state = self._state(run)
        made_here = self._result_time(run) not in (None, self._results_before[run.id])
        return state.status in KEEPS or (state.finished or state.status == DAMAGED) and made_here

    def _state(self, run: Run) -> State:
        return self._directories[run.id].state()

    def _result_time(self, run: Run) -> int | None:
        """When the result of the run was written, in nanoseconds; None without one."""
        try:
            return (self._directories[run.id].path / "summary.json").stat().st_mtime_ns
        except OSError:
            return None

    def _progress(self, jobs: Sequence[Run]) -> list[tuple[str, int | None, int | None]]:
        """The state, the step and the time of the result of each run: they change while it makes progress."""
        states = [self._state(run) for run in jobs]
        return [(state.status, state.step, self._result_time(run)) for run, state in zip(jobs, states, strict=True)]


def _counts(states: Iterable[str]) -> str:
    """ "12 done, 1 failed", the most common state first"""
    return ", ".join(f"{number:,} {state}" for state, number in Counter(states).most_common())


def _first_and_last_line(error: Exception) -> str:
    """The error in one line of at most 300 characters: its first line, and its last, the cause if it is a traceback."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip("-= ")] or [""]
    return f"{type(error).__name__}: {' '.join(dict.fromkeys((lines[0], lines[-1]))):.300}"
