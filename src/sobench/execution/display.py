"""The display of runs: a progress bar for a single run, a live table for a sweep, and a line for each run that ends.

The bar and the table appear on a terminal only, and unless `progress=false`. The table reads the run directories, so
it shows the runs of every launcher. No torch.
"""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO, cast

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from sobench.config.run import Run
from sobench.results.maker import Maker
from sobench.results.state import State, last_row, state
from sobench.results.sweeps import name_of
from sobench.system.output import Unfailing
from sobench.system.processes import run_periodically
from sobench.system.text import format_duration, plural

REFRESH = 0.1
"""Seconds between two redraws of the bar, at least: showing progress must cost the run nothing."""

SHOWN = "SOBENCH_SHOWN"
"""Environment variable, set in the processes of a sweep that has a live table: its runs show no bar and no line."""

LOOK = 0.5
"""Seconds between two readings of the run directories by the table, at least."""

SHARE = 0.02
"""The share of a core that these readings may take, at most."""

ROWS = 12
"""The number of running runs that the table shows, at most."""


class Display:
    """The display of one run: a context in which `update` may be called after every logged step.

    name: of the run. label: its number in its sweep, "3/15", or "".
    """

    def __init__(self, name: str, enabled: bool, label: str):
        self._console = Console(file=cast(TextIO, Unfailing(sys.stdout)), soft_wrap=True, highlight=False)
        self._title, self._in_sweep, self._in_table = run_title(label, name), bool(label), SHOWN in os.environ
        bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(24),
            TextColumn("step {task.completed:,.0f}  loss {task.fields[loss]:.4g}"),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
            auto_refresh=False,
        )
        self._bar = bar if enabled and self._console.is_terminal and not self._in_table else None
        self._updated = 0.0

    def __enter__(self) -> Display:
        if self._bar:
            self._bar.start()
            self._task = self._bar.add_task(self._title, total=None, loss=float("nan"))
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar:
            self._bar.stop()

    def update(self, step: int, limit: int | None, row: Mapping[str, Any]) -> None:
        """Show the step, of `limit` (None: not known), and the loss of the last row."""
        if self._bar and time.monotonic() - self._updated > REFRESH:
            self._updated = time.monotonic()
            self._bar.update(self._task, completed=step, total=limit, loss=row["loss"], refresh=True)

    def say(self, line: str) -> None:
        """Print a line above the bar."""
        self._console.print(line, markup=False)

    def finish(self, summary: Mapping[str, Any], path: Path) -> None:
        """Print the outcome, and for a single run the path of its directory."""
        if not self._in_table:
            self._console.print(outcome(self._title, summary))
        if not self._in_sweep:
            self._console.print(str(path), markup=False)


@contextmanager
def live_table(runs: Sequence[Run]) -> Iterator[None]:
    """Inside, a live table of the runs; nothing if this is no terminal or `progress` is false."""
    console = Console(file=cast(TextIO, Unfailing(sys.stdout)), highlight=False)
    if not (console.is_terminal and all(run.config["progress"] for run in runs)):
        yield
        return
    table = SweepTable(runs, console)

    def redraw() -> float:
        begun = time.thread_time()
        table.look()
        live.update(table.render(), refresh=True)
        return max(LOOK, (time.thread_time() - begun) / SHARE)

    os.environ[SHOWN] = "1"
    with Live(console=console, auto_refresh=False, transient=True) as live:
        try:
            with run_periodically(redraw, LOOK, "display"):
                yield
        finally:
            table.look()
            del os.environ[SHOWN]


class SweepTable:
    """The states of a sweep's runs, read from their directories."""

    def __init__(self, runs: Sequence[Run], console: Console):
        self._left = {f"{number}/{len(runs)}": run for number, run in enumerate(runs, 1)}
        self._console = console
        self._begun = time.monotonic()
        self._ended: Counter[str] = Counter()
        self._results_before = {label: _state(run).summary for label, run in self._left.items()}
        self._running: dict[str, State] = {}

    def look(self) -> None:
        """Read the directories again. Prints the outcome of each run that has ended since."""
        self._running = {}
        for label, run in list(self._left.items()):
            current = _state(run)
            if current.finished and current.summary != self._results_before[label]:
                del self._left[label]
                self._ended[current.status] += 1
                text = outcome(run_title(label, name_of(run)), current.summary) + made_elsewhere(run)
                self._console.print(text, soft_wrap=True)
            elif current.status == "running":
                self._running[label] = current

    @property
    def headline(self) -> str:
        """ "12 done, 1 failed, 2 running, 65 waiting; about 12 min left" """
        waiting = len(self._left) - len(self._running)
        counts = [*self._ended.items(), ("running", len(self._running)), ("waiting", waiting)]
        text = ", ".join(f"{count} {status}" for status, count in counts if count)
        ended = sum(self._ended.values())
        if ended and self._left:
            seconds = (time.monotonic() - self._begun) / ended * len(self._left)
            text += f"; about {format_duration(round(seconds))} left"
        return text

    def render(self) -> Group:
        """The headline, and a row for each running run."""
        table = Table(box=None, show_header=False, pad_edge=False)
        for label, current in list(self._running.items())[:ROWS]:
            run = self._left[label]
            row = last_row(run.directory(run.config["runs"]) / "metrics.jsonl") or {}
            loss = row.get("loss", row.get("train_loss"))
            table.add_row(
                run_title(label, name_of(run)),
                f"step {current.step or 0:,}",
                "" if loss is None else f"loss {loss:.4g}",
                f"{current.seconds or 0:.0f} s",
            )
        return Group(Text(self.headline, style="bold"), table)


def run_title(label: str, name: str) -> str:
    """The name of a run on the terminal, in rich's markup: "[3/15] digits mlp sgd lr=0.1 seed 0"."""
    return escape(f"[{label}] {name}") if label else escape(name)


def outcome(title: str, summary: Mapping[str, Any]) -> str:
    """The outcome of a run in one line, in rich's markup: "...: done: 20 steps, 0.1 s, test_loss 2.3"."""
    metrics = "".join(f", {key} {value:.4g}" for key, value in summary["final"].items() if key.startswith("test"))
    reason = f" ({escape(str(summary['reason']))})" if summary["reason"] else ""
    seconds = f", {summary['seconds']:.1f} s" if "seconds" in summary else ""
    return f"{title}: {summary['status']}{reason}: {plural(summary['steps'], 'step')}{seconds}{metrics}"


def made_elsewhere(run: Run) -> str:
    """ ", made by process 71 on here", if another command than the sweep of this process made the run, else "" """
    maker = Maker.of(run.directory(run.config["runs"]))
    return f", made by {maker}" if maker and not maker.is_this_sweep else ""


def _state(run: Run) -> State:
    return state(run.directory(run.config["runs"]))
