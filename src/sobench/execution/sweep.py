"""A sweep: which of its runs are still to be launched, until every one has ended, here or in another sweep that shares them. No torch.

    with Sweep(runs) as sweep:
        while jobs := sweep.todo():
            with sweep.launching(jobs):
                ...launch them...

A run that another process is making is left to it, and launched again if that process is lost. So two sweeps on one grid share
the work, and one whose workers are killed makes their runs once more, from their checkpoints. A run that ended in an error is
tried again by the next sweep, not by this one.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from sobench.config.run import Run
from sobench.errors import Failure, SobenchError
from sobench.execution import display, task
from sobench.execution.task import fetch_data, finished, say
from sobench.results import sweeps
from sobench.results.rundir import RunDirectory
from sobench.results.state import KEEPS, State
from sobench.system import stopping

POLL = 0.5
"""Seconds between two looks at what others are making."""

LOSSES = 3
"""Times in a row that a launcher may come to nothing before the sweep gives up."""


class Sweep:
    """Says at the beginning how many runs there are to make, and at the end how many ended how."""

    def __init__(self, runs: Sequence[Run], launcher: str):
        self.runs, self.launcher = runs, launcher
        self._directories = {run.id: RunDirectory(run, run.config["runs"]) for run in runs}
        self._pending: list[Run] = []
        self._given_up: set[str] = set()
        self._losses = 0
        self._waited = False
        self._stack = ExitStack()

    def __enter__(self) -> Sweep:
        self._pending = [run for run in self.runs if not finished(self._directories[run.id])]
        if not self._pending:
            say(f"{len(self.runs)} runs: all done already, nothing to do")
            return self
        fetch_data(self._pending)
        done = len(self.runs) - len(self._pending)
        say(f"{len(self.runs)} runs: {f'{done} done already, ' if done else ''}{len(self._pending)} to make")
        self._before = {run.id: self._written(run) for run in self._pending}
        with self._stack:
            file = self._stack.enter_context(sweeps.Sweep(self._pending[0].config["runs"], self._pending)).path
            os.environ[stopping.SWEEP] = f"{len(self._pending)}:{file.absolute()}"
            self._stop_file = stopping.stop_file()
            self._stack.callback(self._stop_file.unlink, missing_ok=True)
            self._stack.callback(os.environ.pop, stopping.SWEEP)
            self._stack.enter_context(display.shown(self._pending))
            self._stack.enter_context(stopping.listening(self._stop))
            self._stack = self._stack.pop_all()
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        """Raises Stopped where a signal stopped the sweep."""
        if not self._pending:
            return
        by, ended = stopping.received(), self._stop_file.exists()
        self._stack.close()
        counts = Counter(directory.state().status for directory in self._directories.values())
        say(f"{len(self.runs)} runs: " + ", ".join(f"{n} {status}" for status, n in counts.most_common()))
        if any(status not in (*KEEPS, "skipped") for status in counts):
            task.exit_code = max(task.exit_code, 1)
        if by and kind is None:
            raise stopping.Stopped(by)
        if ended and not by:
            say("sweep.fail_fast: a run failed, the others were stopped; the same command makes them")

    def todo(self) -> list[Run]:
        """The runs to launch now. Waits while others work on all that are left; none when nothing is left, or it was stopped."""
        while not stopping.asked():
            left = [run for run in self._pending if not self._settled(run)]
            free = [run for run in left if not self._directories[run.id].taken()]
            if free or not left:
                return free
            if not self._waited:
                say(f"waiting for {len(left)} run{'s' if len(left) > 1 else ''} that other processes are making")
                self._waited = True
            time.sleep(POLL)
        return []

    @contextmanager
    def launching(self, jobs: Sequence[Run]) -> Iterator[None]:
        """Around one launch: a launcher that fails has lost a worker, and what it left is launched again. Raises Failure when it
        comes to nothing time after time."""
        before, lost = self._progress(jobs), None
        try:
            yield
        except SobenchError:
            raise
        except Exception as error:
            lost = error
        if lost is None:  # every job was begun: a run without a trace could not be
            self._given_up |= {run.id for run in jobs if self._state(run).status == "missing"}
        self._losses = 0 if self._progress(jobs) != before else self._losses + 1
        if self._losses == LOSSES:
            self._given_up |= {run.id for run in jobs}
            if lost:
                raise Failure(
                    f"hydra/launcher: {self.launcher} gave up ({_line(lost)}); the same command makes what is missing"
                ) from lost
        elif lost and not stopping.asked():
            say(f"a worker was lost ({_line(lost)}), going on")

    def _stop(self, line: str) -> None:
        """On a signal: all workers are told."""
        say(line)
        self._stop_file.touch()

    def _settled(self, run: Run) -> bool:
        """Whether the run has ended, and if by an error, by one of this sweep."""
        if run.id in self._given_up:
            return True
        found = self._state(run)
        return found.finished and (found.status in KEEPS or self._written(run) != self._before[run.id])

    def _state(self, run: Run) -> State:
        return self._directories[run.id].state()

    def _written(self, run: Run) -> int | None:
        """When the run's result was written, as its file says."""
        try:
            return (self._directories[run.id].path / "summary.json").stat().st_mtime_ns
        except OSError:
            return None

    def _progress(self, jobs: Sequence[Run]) -> list[tuple]:
        return [(found.status, found.step, self._written(run)) for run in jobs for found in [self._state(run)]]


def _line(error: Exception) -> str:
    """In one line: the first of its lines, and the last, which is the error where they are a traceback."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip("-= ")] or [""]
    return f"{type(error).__name__}: {' '.join(dict.fromkeys((lines[0], lines[-1]))):.300}"
