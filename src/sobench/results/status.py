"""The table behind `sobench status`: where every cell stands. No pandas, no torch."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sobench.results import sweeps
from sobench.results.fingerprint import recorded
from sobench.results.stale import SCHEME, Fingerprint, Judge, is_earlier, settings_of, why
from sobench.results.state import KEEPS, STATUSES, State, state
from sobench.system.heartbeat import Holder
from sobench.system.text import format_ranges

if TYPE_CHECKING:
    from rich.console import Console

    from sobench.results.collection import Run

_STYLE = {
    "done": "green",
    "diverged": "magenta",
    "out-of-memory": "red",
    "timed-out": "red",
    "failed": "red",
    "skipped": "yellow",
    "running": "cyan",
    "queued": "blue",
    "interrupted": "yellow",
    "missing": "dim",
    "stale": "yellow",
}


@dataclass
class CellStatus:
    """The runs of one cell. `name` is its directory: dataset, model, optimizer, cell."""

    name: str
    states: dict[int, State] = field(default_factory=dict)  # by seed
    stale: dict[int, str] = field(default_factory=dict)  # by seed, why
    earlier: set[int] = field(default_factory=set)  # seeds with a fingerprint of an earlier scheme

    @property
    def counts(self) -> dict[str, int]:
        """How many runs there are of each state; the stale, which have a state like any, come last."""
        return count(self.states.values()) | ({"stale": len(self.stale)} if self.stale else {})

    @property
    def progress(self) -> str:
        """The last step recorded: "40", or "10-40" over the seeds."""
        steps = [state.step for state in self.states.values() if state.step is not None]
        return "" if not steps else f"{max(steps):,}" if min(steps) == max(steps) else f"{min(steps):,}-{max(steps):,}"

    @property
    def reasons(self) -> list[str]:
        """Each distinct reason once, with the seeds it holds for; of a run at work, who has it."""
        return [f"{reason} (seed {format_ranges(seeds)})" for reason, seeds in self._reasons().items()]

    def logs(self, folder: Path) -> list[str]:
        """The traceback of each distinct failure: of the first run that left one."""
        found: dict[str | None, str] = {}
        for seed, its in self.states.items():
            if its.finished and its.status not in KEEPS and its.reason not in found:
                path = os.path.join(folder, self.name, f"seed-{seed}", "error.txt")
                found |= {its.reason: path} if os.path.exists(path) else {}
        return list(found.values())

    def _reasons(self) -> dict[str, list[int]]:
        """{"status: reason": its seeds}"""
        seeds: dict[str, list[int]] = {}
        for seed, found in self.states.items():
            said = (
                found.reason,
                found.holder and str(found.holder),
                self.stale.get(seed) and f"stale, {self.stale[seed]}",
            )
            if any(said):
                seeds.setdefault(f"{found.status}: {', '.join(filter(None, said))}", []).append(seed)
        return seeds


def cells(
    directories: Iterable[Path | str],
    queue: Mapping[str, Holder] | None = None,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
) -> list[CellStatus]:
    """Status of each cell, from run directories <cell name>/seed-<seed>, in the order they come. queue: as of `state`;
    settings: the configuration by cell name, where it is known."""
    found: dict[str, CellStatus] = {}
    now: dict[str, Fingerprint | None] = {}
    judge = Judge()
    for directory in directories:
        parent, last = os.path.split(directory)
        name, seed = os.path.basename(parent), _seed(last)
        cell = found.setdefault(name, CellStatus(name))
        cell.states[seed] = state(directory, queue)
        if cell.states[seed].status in KEEPS:
            if now.get(name) is None:
                known = (settings or {}).get(name) or settings_of(directory)
                now[name] = judge.now(known) if known else None
            if then := recorded(directory):
                if now[name] and (reason := why(then, now[name])):
                    cell.stale[seed] = reason
                if is_earlier(then):
                    cell.earlier.add(seed)
    return list(found.values())


def run_directories(root: Path, queued: Iterable[str] = ()) -> list[str]:
    """Every run directory under `root`, and those that are yet to be made there, by cell and seed."""
    found = {
        (cell, seed)
        for cell in _folders(root)
        for seed in _folders(os.path.join(root, cell))
        if seed.startswith("seed-")
    }
    found.update(tuple(slug.split("/")) for slug in queued)
    return [os.path.join(root, *place) for place in sorted(found, key=lambda place: (place[0], _seed(place[1])))]


def _folders(root: Path | str) -> list[str]:
    try:
        with os.scandir(root) as entries:
            return [entry.name for entry in entries if not entry.name.startswith(".") and entry.is_dir()]
    except OSError:
        return []


def _seed(name: str) -> int:
    number = name.removeprefix("seed-")
    return int(number) if number.isdigit() else -1


def print_status(runs: Sequence[Run] | None, root: Path, console: Console) -> None:
    """Print where the runs stand under `root`: those given, or, for None, all that are found there or waited for."""
    queue = sweeps.queue(root)
    if runs is None:
        directories, settings = run_directories(root, queue), {}
    else:
        directories = [run.directory(root) for run in runs]
        settings = {directory.parent.name: run.config for run, directory in zip(runs, directories, strict=True)}
    found = cells(directories, queue, settings)
    if not found:
        console.print(f"no runs under {root}")
        return
    logs = [f"log: {_escape(path)}" for cell in found for path in cell.logs(root)]
    console.print(
        "\n".join([*_lines(found), *logs, *_earlier(found), summary_line(found)]), highlight=False, soft_wrap=True
    )


def _lines(found: Sequence[CellStatus]) -> list[str]:
    """A line for each cell, and one below it for each reason. By hand: a table of rich takes a second for a thousand rows."""
    rows = [(cell.name, f"{cell.counts.get('done', 0)}/{len(cell.states)}", cell.progress) for cell in found]
    widths = [max(map(len, column)) for column in zip(("cell", "seeds", "step"), *rows, strict=True)]
    lines = [f"[bold]{'cell':<{widths[0]}}  {'seeds':<{widths[1]}}  {'step':>{widths[2]}}  state[/]"]
    for cell, (name, seeds, step) in zip(found, rows, strict=True):
        counts = ", ".join(f"[{_STYLE[status]}]{status} {number}[/]" for status, number in cell.counts.items())
        lines.append(f"{_escape(name):<{widths[0]}}  {seeds:<{widths[1]}}  {step:>{widths[2]}}  {counts}")
        lines += [f"    {_escape(reason)}" for reason in cell.reasons]
    return lines


def _earlier(found: Sequence[CellStatus]) -> list[str]:
    """A line about the results whose method's code cannot be compared with that of now; none if there are none."""
    number = sum(len(cell.earlier) for cell in found)
    made = f"{_plural(number, 'result')} {'was' if number == 1 else 'were'} made before fingerprints of scheme {SCHEME}"
    return [f"{made}: not compared with the code of now"] if number else []


def summary_line(found: Sequence[CellStatus]) -> str:
    """ "5 cells, 15 runs: 12 done, 2 missing, 1 diverged; 1 of them stale" """
    states = [state for cell in found for state in cell.states.values()]
    stale = sum(len(cell.stale) for cell in found)
    counts = ", ".join(f"{number:,} {status}" for status, number in count(states).items())
    text = f"{_plural(len(found), 'cell')}, {_plural(len(states), 'run')}: {counts}"
    return text + (f"; {stale:,} of them stale" if stale else "")


def count(states: Iterable[State]) -> dict[str, int]:
    """How many there are of each state, in the order of STATUSES."""
    found = Counter(state.status for state in states)
    return {status: found[status] for status in STATUSES if found[status]}


def _plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _escape(text: str) -> str:
    from rich.markup import escape

    return escape(text)
