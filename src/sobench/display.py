"""How a run looks while it trains: a bar on a terminal, one line when it is over anywhere. In a sweep on a terminal the sweep's
display shows its runs instead: see sweep_display."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from sobench.run import Run

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
            TextColumn("{task.description}"), BarColumn(24), TextColumn("step {task.completed:,.0f}  loss {task.fields[loss]:.4g}"),
            TimeRemainingColumn(), console=self._console, transient=True, auto_refresh=False,
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
