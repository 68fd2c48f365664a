"""The table of `sobench status`: the state of every cell and of its runs. No pandas, no torch."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sobench.config import names as run_names
from sobench.results import sweeps
from sobench.results.fingerprint import recorded
from sobench.results.stale import SCHEME, Fingerprint, Judge, is_earlier, settings_of, why
from sobench.results.state import KEEPS, STATUSES, State, state
from sobench.system.heartbeat import Holder
from sobench.system.text import format_ranges, table

if TYPE_CHECKING:
    from rich.console import Console

    from sobench.config.run import Run

_STYLE = {
    "done": "green",
    "diverged": "magenta",
    "out-of-memory": "red",
    "timed-out": "red",
    "failed": "red",
    "skipped": "yellow",
    "damaged": "red",
    "running": "cyan",
    "queued": "blue",
    "interrupted": "yellow",
    "missing": "dim",
    "stale": "yellow",
}


@dataclass
class CellStatus:
    """The runs of one cell.

    name: the cell's directory, <dataset>_<model>_<optimizer>_<cell>. settings: its configuration or identity, None if
    unknown. states: by seed. stale: by seed, the reason. earlier: the seeds whose fingerprint is of an earlier scheme.
    """

    name: str
    settings: Mapping[str, Any] | None = None
    states: dict[int, State] = field(default_factory=dict)
    stale: dict[int, str] = field(default_factory=dict)
    earlier: set[int] = field(default_factory=set)

    @property
    def counts(self) -> dict[str, int]:
        """The number of runs of each state; then the number of stale ones, which are counted by their state too."""
        return count(self.states.values()) | ({"stale": len(self.stale)} if self.stale else {})

    @property
    def progress(self) -> str:
        """The last step recorded: "40", or "10-40" over the seeds."""
        steps = [state.step for state in self.states.values() if state.step is not None]
        if not steps:
            return ""
        first, last = min(steps), max(steps)
        return f"{last:,}" if first == last else f"{first:,}-{last:,}"

    @property
    def reasons(self) -> list[str]:
        """Each distinct reason once, with its seeds; for a running run, its process."""
        seeds: dict[str, list[int]] = {}
        for seed, of_run in self.states.items():
            holder = str(of_run.holder) if of_run.holder else None
            stale = f"stale, {self.stale[seed]}" if seed in self.stale else None
            details = [detail for detail in (of_run.reason, holder, stale) if detail]
            if details:
                seeds.setdefault(f"{of_run.status}: {', '.join(details)}", []).append(seed)
        return [f"{reason} (seed {format_ranges(of_reason)})" for reason, of_reason in seeds.items()]

    def logs(self, folder: Path) -> list[str]:
        """The error.txt of each distinct failure, that of the first run that has one."""
        paths: dict[str | None, str] = {}
        for seed, of_run in self.states.items():
            if of_run.finished and of_run.status not in KEEPS and of_run.reason not in paths:
                path = os.path.join(folder, self.name, f"seed-{seed}", "error.txt")
                if os.path.exists(path):
                    paths[of_run.reason] = path
        return list(paths.values())


def cells(
    directories: Iterable[Path | str],
    queue: Mapping[str, Holder] | None = None,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
) -> list[CellStatus]:
    """The status of each cell, from run directories <cell name>/seed-<seed>, in their order.

    queue: see `state`. settings: the configuration by cell name, where it is known.
    """
    by_name: dict[str, CellStatus] = {}
    fingerprints: dict[str, Fingerprint | None] = {}
    judge = Judge()
    for directory in directories:
        parent, last = os.path.split(directory)
        name, seed = os.path.basename(parent), _seed(last)
        cell = by_name.setdefault(name, CellStatus(name, (settings or {}).get(name)))
        cell.states[seed] = state(directory, queue)
        cell.settings = cell.settings or settings_of(directory)
        if cell.states[seed].status not in KEEPS:
            continue
        if fingerprints.get(name) is None:
            fingerprints[name] = judge.now(cell.settings) if cell.settings else None
        then, now = recorded(directory), fingerprints[name]
        if then is None:
            continue
        reason = why(then, now) if now else None
        if reason:
            cell.stale[seed] = reason
        if is_earlier(then):
            cell.earlier.add(seed)
    return list(by_name.values())


def run_directories(root: Path, queued: Iterable[str] = ()) -> list[str]:
    """All run directories under `root`, by cell and seed, with those in `queued`, which may not exist yet."""
    places = {tuple(slug.split("/")) for slug in queued}
    for cell in _folders(root):
        places.update((cell, seed) for seed in _folders(os.path.join(root, cell)) if seed.startswith("seed-"))
    return [os.path.join(root, *place) for place in sorted(places, key=lambda place: (place[0], _seed(place[1])))]


def _folders(root: Path | str) -> list[str]:
    try:
        with os.scandir(root) as entries:
            return [entry.name for entry in entries if not entry.name.startswith(".") and entry.is_dir()]
    except OSError:
        return []


def _seed(name: str) -> int:
    number = name.removeprefix("seed-")
    return int(number) if number.isdigit() else -1


def of_runs(runs: Sequence[Run]) -> tuple[list[CellStatus], Path]:
    """The status of each cell of these runs, and the folder of the runs."""
    root = Path(runs[0].config["runs"])
    directories = [run.directory(root) for run in runs]
    settings = {directory.parent.name: run.config for run, directory in zip(runs, directories, strict=True)}
    return cells(directories, sweeps.queue(root), settings), root


def of_folder(root: Path) -> tuple[list[CellStatus], Path]:
    """The status of each cell in the folder, with the runs that a sweep will make; and the folder."""
    queue = sweeps.queue(root)
    return cells(run_directories(root, queue), queue), root


def print_status(all_cells: Sequence[CellStatus], root: Path, console: Console) -> None:
    """Print the states of the runs of these cells under `root`."""
    if not all_cells:
        console.print(f"no runs under {root}")
        return
    logs = [f"log: {_escape(path)}" for cell in all_cells for path in cell.logs(root)]
    lines = [*_lines(all_cells), *logs, *_earlier(all_cells), summary_line(all_cells)]
    console.print("\n".join(lines), highlight=False, soft_wrap=True)


def _lines(cells: Sequence[CellStatus]) -> list[str]:
    """A line for each cell, and below it one for each reason. A rich table takes a second for a thousand rows."""
    names = run_names.names({cell.name: cell.settings for cell in cells if cell.settings})
    rows = [("cell", "folder", "seeds", "step", "state")]
    for cell in cells:
        counts = ", ".join(f"{status} {number}" for status, number in cell.counts.items())
        done = f"{cell.counts.get('done', 0)}/{len(cell.states)}"
        rows.append((names.get(cell.name, cell.name), f"*{cell.name.rpartition('_')[2]}", done, cell.progress, counts))
    head, *body = table(rows, "lllrl")
    lines = [f"[bold]{head}[/]"]
    for cell, line in zip(cells, body, strict=True):
        lines.append(_coloured(line, cell.counts))
        lines += [f"    {_escape(reason)}" for reason in cell.reasons]
    return lines


def _coloured(line: str, counts: Mapping[str, int]) -> str:
    """The line of a cell as markup, with each of the counts at its end in the colour of its state."""
    plain = ", ".join(f"{status} {number}" for status, number in counts.items())
    coloured = ", ".join(f"[{_STYLE[status]}]{status} {number}[/]" for status, number in counts.items())
    return _escape(line.removesuffix(plain)) + coloured


def _earlier(cells: Sequence[CellStatus]) -> list[str]:
    """The line about results whose method's code cannot be compared with the installed one; none if there are none."""
    number = sum(len(cell.earlier) for cell in cells)
    if not number:
        return []
    made = f"{_plural(number, 'result')} {'was' if number == 1 else 'were'} made before fingerprints of scheme {SCHEME}"
    return [f"{made}: not compared with the code of now"]


def summary_line(cells: Sequence[CellStatus]) -> str:
    """ "5 cells, 15 runs: 12 done, 2 missing, 1 diverged; 1 of them stale" """
    states = [state for cell in cells for state in cell.states.values()]
    stale = sum(len(cell.stale) for cell in cells)
    counts = ", ".join(f"{number:,} {status}" for status, number in count(states).items())
    text = f"{_plural(len(cells), 'cell')}, {_plural(len(states), 'run')}: {counts}"
    return text + (f"; {stale:,} of them stale" if stale else "")


def count(states: Iterable[State]) -> dict[str, int]:
    """The number of runs of each state, in the order of STATUSES."""
    counts = Counter(state.status for state in states)
    return {status: counts[status] for status in STATUSES if counts[status]}


def _plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _escape(text: str) -> str:
    from rich.markup import escape

    return escape(text)
