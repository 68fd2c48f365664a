"""How a sweep looks while it is made, whoever makes its runs: one live table on a terminal, from the run directories alone. No torch."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from sobench import duration
from sobench.background import repeated
from sobench.display import SHOWN, ended, labelled
from sobench.results.state import State, last_row, state
from sobench.run import Run

REFRESH = 0.5
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
        return max(REFRESH, (time.thread_time() - begun) / SHARE)

    os.environ[SHOWN] = "1"
    with Live(console=console, auto_refresh=False, transient=True) as live:
        try:
            with repeated(watch, REFRESH, "display"):
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
        return parts + (f"; about {duration.shown(round((time.monotonic() - self._begun) / over * len(self._left)))} left" if over and self._left else "")

    def render(self) -> Group:
        table = Table(box=None, show_header=False, pad_edge=False)
        for label, found in list(self._running.items())[:ROWS]:
            run = self._left[label]
            row = last_row(run.directory(run.config["runs"]) / "metrics.jsonl") or {}
            loss = row.get("loss", row.get("train_loss"))
            table.add_row(labelled(label, run), f"step {found.step or 0:,}", "" if loss is None else f"loss {loss:.4g}",
                          f"{found.seconds or 0:.0f} s")
        return Group(Text(self.headline, style="bold"), table)


def _state(run: Run) -> State:
    return state(run.directory(run.config["runs"]))
