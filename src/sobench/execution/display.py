"""How a run looks while it trains: a bar on a terminal, one line when it is over anywhere. In a sweep on a terminal the sweep's
display shows its runs instead: see sweep_display.

How a sweep looks while it is made, whoever makes its runs: one live table on a terminal, from the run directories alone. No torch.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from sobench.config.run import Run
from sobench.results.state import State, last_row, state
from sobench.system.processes import run_periodically
from sobench.system.text import format_duration

REFRESH = 0.1
"""Seconds between two redraws: showing progress must cost the run nothing."""

SHOWN = "SOBENCH_SHOWN"
"""Environment variable of the processes of a sweep that has a display of its own."""


class Display:
    """A context in which `update` may be called after every logged step."""

    def __init__(self, run: Run, enabled: bool, label: str):
        self._console = Console(soft_wrap=True, highlight=False)
        self._name, self._in_sweep, self._shown = labelled(label, run), bool(label), SHOWN in os.environ
        bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(24),
            TextColumn("step {task.completed:,.0f}  loss {task.fields[loss]:.4g}"),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
            auto_refresh=False,
        )
        self._bar = bar if enabled and self._console.is_terminal and not self._shown else None
        self._last = 0.0

    def __enter__(self) -> Display:
        if self._bar:
            self._bar.start()
            self._task = self._bar.add_task(self._name, total=None, loss=float("nan"))
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar:
            self._bar.stop()

    def update(self, step: int, limit: int | None, row: dict[str, Any]) -> None:
        if self._bar and time.monotonic() - self._last > REFRESH:
            self._last = time.monotonic()
            self._bar.update(self._task, completed=step, total=limit, loss=row["loss"], refresh=True)

    def say(self, line: str) -> None:
        self._console.print(line, markup=False)

    def finish(self, summary: dict[str, Any], path: Path) -> None:
        """One line: how it ended, where its record is."""
        if not self._shown:
            self._console.print(ended(self._name, summary))
        if not self._in_sweep:
            self._console.print(str(path), markup=False)


def labelled(label: str, run: Run) -> str:
    """What a run is called on the screen, in rich's markup."""
    return escape(f"[{label}] {run.name}") if label else escape(run.name)


def ended(name: str, summary: dict[str, Any]) -> str:
    """How a run ended, in rich's markup."""
    figures = "".join(f", {key} {value:.4g}" for key, value in summary["final"].items() if key.startswith("test"))
    reason = f" ({escape(str(summary['reason']))})" if summary["reason"] else ""
    seconds = f", {summary['seconds']:.1f} s" if "seconds" in summary else ""
    return f"{name}: {summary['status']}{reason}: {summary['steps']} steps{seconds}{figures}"


LOOK = 0.5
"""Seconds between two looks at the run directories."""
SHARE = 0.02
"""Of a core, at most, that the looking may take."""
ROWS = 12
"""Running runs that are shown."""


@contextmanager
def shown(runs: Sequence[Run]) -> Iterator[None]:
    """The live table of these runs, where this is a terminal and progress is not false; else nothing."""
    console = Console(highlight=False)
    if not (console.is_terminal and all(run.config["progress"] for run in runs)):
        yield
        return
    table = SweepTable(runs, console)

    def watch() -> float:
        begun = time.thread_time()
        table.look()
        live.update(table.render(), refresh=True)
        return max(LOOK, (time.thread_time() - begun) / SHARE)

    os.environ[SHOWN] = "1"
    with Live(console=console, auto_refresh=False, transient=True) as live:
        try:
            with run_periodically(watch, LOOK, "display"):
                yield
        finally:
            table.look()
            del os.environ[SHOWN]


class SweepTable:
    """Where the runs of a sweep stand; prints a line above the table for each that ends."""

    def __init__(self, runs: Sequence[Run], console: Console):
        self._left = {f"{number}/{len(runs)}": run for number, run in enumerate(runs, 1)}
        self._console = console
        self._begun = time.monotonic()
        self._ended: Counter[str] = Counter()
        self._before = {label: _state(run).summary for label, run in self._left.items()}
        self._running: dict[str, State] = {}

    def look(self) -> None:
        self._running = {}
        for label, run in list(self._left.items()):
            found = _state(run)
            if found.finished and found.summary != self._before[label]:
                del self._left[label]
                self._ended[found.status] += 1
                self._console.print(ended(labelled(label, run), found.summary), soft_wrap=True)
            elif found.status == "running":
                self._running[label] = found

    @property
    def headline(self) -> str:
        """ "12 done, 1 failed, 2 running, 65 waiting; about 12 min left" """
        waiting = len(self._left) - len(self._running)
        counts = [*self._ended.items(), ("running", len(self._running)), ("waiting", waiting)]
        parts = ", ".join(f"{count} {status}" for status, count in counts if count)
        over = sum(self._ended.values())
        return parts + (
            f"; about {format_duration(round((time.monotonic() - self._begun) / over * len(self._left)))} left"
            if over and self._left
            else ""
        )

    def render(self) -> Group:
        table = Table(box=None, show_header=False, pad_edge=False)
        for label, found in list(self._running.items())[:ROWS]:
            run = self._left[label]
            row = last_row(run.directory(run.config["runs"]) / "metrics.jsonl") or {}
            loss = row.get("loss", row.get("train_loss"))
            table.add_row(
                labelled(label, run),
                f"step {found.step or 0:,}",
                "" if loss is None else f"loss {loss:.4g}",
                f"{found.seconds or 0:.0f} s",
            )
        return Group(Text(self.headline, style="bold"), table)


def _state(run: Run) -> State:
    return state(run.directory(run.config["runs"]))
