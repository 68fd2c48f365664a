"""`sobench plan`: what a sweep has to do, how long it will take and how much memory, and what of it fits into a given time."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sobench import duration
from sobench.arguments import runs_of, settings_of
from sobench.spans import spans


@dataclass
class Cell:
    """The runs of a cell: those whose result stands, those to be made, and what one of them takes, or why that is not known."""

    name: str
    done: list
    left: list
    cost: object = None

    @property
    def seconds(self) -> float | None:
        """Of one run."""
        return getattr(self.cost, "seconds", None)


def plan(args: argparse.Namespace) -> int:
    """Print the table, the total and, for a budget, the runs that fit and the command that makes them."""
    from sobench.plan_measure import measure
    from sobench.session import fetch_data

    limit = duration.seconds("--budget", args.budget) if args.budget else None
    words = settings_of(args.overrides)
    runs = runs_of(args.experiment, words)
    cells = cells_of(runs)
    fetch_data([run for cell in cells for run in cell.left])
    for cell in cells:
        if cell.left:
            cell.cost = measure(cell.left[0])
    print(*table(cells), sep="\n")
    print(total(cells))
    if limit is not None:
        print(*_within(limit, cells, args.experiment, words), sep="\n")
    return 0


def cells_of(runs: Sequence) -> list[Cell]:
    """The cells in the order they come, with their runs by whether they are done."""
    from sobench.results.rundir import RunDirectory

    found: dict[str, Cell] = {}
    for run in runs:
        cell = found.setdefault(run.cell, Cell(run.slug.partition("/")[0], [], []))
        (cell.done if RunDirectory(run, run.config["runs"]).finished() else cell.left).append(run)
    return list(found.values())


def table(cells: Sequence[Cell]) -> list[str]:
    """A line for each cell, and one below it where it could not be measured."""
    head = ("cell", "runs", "done", "left", "a step", "an evaluation", "steps", "a run", "memory", "all left")
    rows = [_row(cell) for cell in cells]
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = []
    for cell, row in zip([None, *cells], [head, *rows], strict=True):
        lines.append("  ".join([row[0].ljust(widths[0]), *(text.rjust(width) for text, width in zip(row[1:], widths[1:]))]))
        lines += [f"    not measured: {cell.cost}"] if cell and isinstance(cell.cost, str) else []
    return lines


def _row(cell: Cell) -> tuple[str, ...]:
    counts = (cell.name, str(len(cell.done) + len(cell.left)), str(len(cell.done)), str(len(cell.left)))
    if cell.seconds is None:
        return (*counts, *[""] * 6)
    cost = cell.cost
    memory = f"{cost.host / 1e6:,.0f} MB" + (f" + {cost.device / 1e6:,.0f} MB GPU" if cost.device else "")
    return (*counts, _fine(cost.step), _fine(cost.evaluation), f"{cost.steps:,}", duration.shown(cost.seconds), memory,
            duration.shown(cost.seconds * len(cell.left)))


def _fine(seconds: float) -> str:
    return f"{seconds * 1e3:.3g} ms" if seconds < 1 else duration.shown(seconds)


def total(cells: Sequence[Cell]) -> str:
    """ "3 cells, 15 runs: 5 done, 10 left, 1 h 20 min one after another, at most 512 MB" """
    done, left = (sum(len(part) for part in parts) for parts in zip(*((cell.done, cell.left) for cell in cells), strict=True))
    known = [cell for cell in cells if cell.seconds is not None]
    unknown = sum(len(cell.left) for cell in cells if cell.left and cell.seconds is None)
    text = f"{len(cells)} cells, {done + left} runs: {done} done, {left} left"
    if known:
        text += (f", {duration.shown(sum(cell.seconds * len(cell.left) for cell in known))} one after another"
                 f", at most {max(cell.cost.host for cell in known) / 1e6:,.0f} MB")
    return text + (f"; {unknown} of them not measured, and not counted" if unknown else "")


def fitting(limit: float, cells: Sequence[Cell]) -> list:
    """The runs that fit into `limit` seconds one after another: every cell gets its first seed before any gets its second, the
    cheapest cells first. What is done already counts; a cell that was not measured has none."""
    waiting = [(len(cell.done) + place, cell.seconds, order, run) for order, cell in enumerate(cells) if cell.seconds is not None
               for place, run in enumerate(cell.left)]
    chosen, used = [], 0.0
    for _, seconds, _, run in sorted(waiting, key=lambda one: one[:3]):
        used += seconds
        if used > limit:
            break
        chosen.append(run)
    return chosen


def _within(limit: float, cells: Sequence[Cell], experiment: str, words: list[str]) -> list[str]:
    """What fits into the budget, what is left out, and the command."""
    chosen = fitting(limit, cells)
    ids = {run.id for run in chosen}
    out = {cell.name: [run.seed for run in cell.left if run.id not in ids] for cell in cells}
    out = {name: seeds for name, seeds in out.items() if seeds}
    seconds = sum(cell.seconds for cell in cells for run in cell.left if run.id in ids)
    lines = [f"within {duration.shown(limit)}: {len(chosen)} runs, {duration.shown(seconds)}" if chosen else
             f"within {duration.shown(limit)}: no run"]
    lines += [f"left out: {name}: seed {spans(seeds)}" for name, seeds in out.items()]
    return lines + ([f"run them with: {_command(chosen, bool(out), experiment, words)}"] if chosen else [])


def _command(chosen: Sequence, partly: bool, experiment: str, words: list[str]) -> str:
    """What makes exactly these runs; a part of a sweep is written to a file of jobs."""
    import shlex

    from sobench import jobs

    if not partly:
        return shlex.join(["sobench", "run", f"experiment={experiment}", *words])
    file = jobs.write(Path(chosen[0].config["runs"]), "plan", [run.overrides for run in chosen])
    return shlex.join(["sobench", "run", "-m", jobs.option(file), *(word for word in words if word.startswith("hydra"))])
