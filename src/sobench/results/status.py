"""The table behind `sobench status`: where every cell stands. No pandas, no torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from sobench.results.state import STATUSES, State, state

if TYPE_CHECKING:
    from rich.console import Console

    from sobench.results.collection import Run

_STYLE = {"done": "green", "diverged": "magenta", "out-of-memory": "red", "failed": "red", "skipped": "yellow", "running": "cyan",
          "interrupted": "yellow", "missing": "dim"}


@dataclass
class CellStatus:
    """The runs of one cell. `name` is its directory: dataset, model, optimizer, cell."""

    name: str
    states: dict[int, State] = field(default_factory=dict)  # by seed

    @property
    def counts(self) -> dict[str, int]:
        found = Counter(state.status for state in self.states.values())
        return {status: found[status] for status in STATUSES if found[status]}

    @property
    def progress(self) -> str:
        """The last step recorded: "40", or "10-40" over the seeds."""
        steps = [state.step for state in self.states.values() if state.step is not None]
        return "" if not steps else f"{max(steps):,}" if min(steps) == max(steps) else f"{min(steps):,}-{max(steps):,}"

    @property
    def reasons(self) -> str:
        """Each distinct reason once, with the seeds it holds for."""
        seeds: dict[str, list[int]] = {}
        for seed, found in self.states.items():
            if found.reason:
                seeds.setdefault(f"{found.status}: {found.reason}", []).append(seed)
        return "; ".join(f"{reason} (seed {', '.join(map(str, numbers))})" for reason, numbers in seeds.items())


def cells(directories: Iterable[Path]) -> list[CellStatus]:
    """Status of each cell, from run directories <cell name>/seed-<seed>, in the order they come."""
    found: dict[str, CellStatus] = {}
    for directory in directories:
        cell = found.setdefault(directory.parent.name, CellStatus(directory.parent.name))
        cell.states[_seed(directory)] = state(directory)
    return list(found.values())


def _seed(directory: Path) -> int:
    number = directory.name.removeprefix("seed-")
    return int(number) if number.isdigit() else -1


def print_status(runs: Sequence[Run] | None, root: Path, console: Console) -> None:
    """Print where the runs stand under `root`: those given, or, for None, all that are found there."""
    from rich.table import Table

    if runs is None:
        directories = sorted(Path(root).glob("*/seed-*"), key=lambda path: (path.parent.name, _seed(path)))
    else:
        directories = [run.directory(Path(root)) for run in runs]
    found = cells(directories)
    if not found:
        console.print(f"no runs under {root}")
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("cell", no_wrap=True)
    for heading in ("seeds", "state", "step", "reason"):
        table.add_column(heading, justify="right" if heading == "step" else "left", overflow="fold")
    for cell in found:
        counts = "\n".join(f"[{_STYLE[status]}]{status} {count}[/]" for status, count in cell.counts.items())
        table.add_row(cell.name, f"{cell.counts.get('done', 0)}/{len(cell.states)}", counts, cell.progress,
                      _escape(cell.reasons))
    console.print(table)
    console.print(summary_line(found))


def summary_line(found: Sequence[CellStatus]) -> str:
    """ "5 cells, 15 runs: 12 done, 2 missing, 1 diverged" """
    total = Counter(state.status for cell in found for state in cell.states.values())
    counts = ", ".join(f"{total[status]} {status}" for status in STATUSES if total[status])
    return f"{_plural(len(found), 'cell')}, {_plural(sum(total.values()), 'run')}: {counts}"


def _plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _escape(text: str) -> str:
    from rich.markup import escape

    return escape(text)
