"""`sobench plan`: what a sweep has to do, how long it will take and how much memory, and what of it fits into a given time.

A few real steps of a run, timed in a process of its own, off the record: what `sobench plan` reckons with. No torch here.
"""

from __future__ import annotations

import argparse
import math
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sobench.cli.arguments import runs_of, settings_of
from sobench.config.run import Run
from sobench.errors import described
from sobench.system.processes import forkserver_context
from sobench.system.text import format_duration, format_ranges, parse_duration


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
    from sobench.execution.task import fetch_data

    limit = parse_duration("--budget", args.budget) if args.budget else None
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
        lines.append(
            "  ".join([row[0].ljust(widths[0]), *(text.rjust(width) for text, width in zip(row[1:], widths[1:]))])
        )
        lines += [f"    not measured: {cell.cost}"] if cell and isinstance(cell.cost, str) else []
    return lines


def _row(cell: Cell) -> tuple[str, ...]:
    counts = (cell.name, str(len(cell.done) + len(cell.left)), str(len(cell.done)), str(len(cell.left)))
    if cell.seconds is None:
        return (*counts, *[""] * 6)
    cost = cell.cost
    memory = f"{cost.host / 1e6:,.0f} MB" + (f" + {cost.device / 1e6:,.0f} MB GPU" if cost.device else "")
    return (
        *counts,
        _fine(cost.step),
        _fine(cost.evaluation),
        f"{cost.steps:,}",
        format_duration(cost.seconds),
        memory,
        format_duration(cost.seconds * len(cell.left)),
    )


def _fine(seconds: float) -> str:
    return f"{seconds * 1e3:.3g} ms" if seconds < 1 else format_duration(seconds)


def total(cells: Sequence[Cell]) -> str:
    """ "3 cells, 15 runs: 5 done, 10 left, 1 h 20 min one after another, at most 512 MB" """
    done, left = (
        sum(len(part) for part in parts) for parts in zip(*((cell.done, cell.left) for cell in cells), strict=True)
    )
    known = [cell for cell in cells if cell.seconds is not None]
    unknown = sum(len(cell.left) for cell in cells if cell.left and cell.seconds is None)
    text = f"{len(cells)} cells, {done + left} runs: {done} done, {left} left"
    if known:
        text += (
            f", {format_duration(sum(cell.seconds * len(cell.left) for cell in known))} one after another"
            f", at most {max(cell.cost.host for cell in known) / 1e6:,.0f} MB"
        )
    return text + (f"; {unknown} of them not measured, and not counted" if unknown else "")


def fitting(limit: float, cells: Sequence[Cell]) -> list:
    """The runs that fit into `limit` seconds one after another: every cell gets its first seed before any gets its second, the
    cheapest cells first. What is done already counts; a cell that was not measured has none."""
    waiting = [
        (len(cell.done) + place, cell.seconds, order, run)
        for order, cell in enumerate(cells)
        if cell.seconds is not None
        for place, run in enumerate(cell.left)
    ]
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
    lines = [
        f"within {format_duration(limit)}: {len(chosen)} runs, {format_duration(seconds)}"
        if chosen
        else f"within {format_duration(limit)}: no run"
    ]
    lines += [f"left out: {name}: seed {format_ranges(seeds)}" for name, seeds in out.items()]
    return lines + ([f"run them with: {_command(chosen, bool(out), experiment, words)}"] if chosen else [])


def _command(chosen: Sequence, partly: bool, experiment: str, words: list[str]) -> str:
    """What makes exactly these runs; a part of a sweep is written to a file of jobs."""
    import shlex

    from sobench.config import jobs

    if not partly:
        return shlex.join(["sobench", "run", f"experiment={experiment}", *words])
    file = jobs.write(Path(chosen[0].config["runs"]), "plan", [run.overrides for run in chosen])
    return shlex.join(
        ["sobench", "run", "-m", jobs.option(file), *(word for word in words if word.startswith("hydra"))]
    )


STEPS, MOST = 5, 50
"""Steps after the first: as many as the longest period of the method, so that what it does rarely is seen, within these."""
SECONDS = 5.0
"""After which no further step is begun."""
PATIENCE = 300.0
"""Seconds after which a cell is given up."""
PRELOAD = ["torch._dynamo", "sobench.training.trainer"]
"""What every measuring process has at once; an optimizer's first step imports the former."""


@dataclass(frozen=True)
class Measured:
    """Of one run: seconds of its first step and of each further one, of one evaluation, and of all that comes before the first;
    how many it will make; peak bytes on the host and on the device (None: none)."""

    first: float
    step: float
    evaluation: float
    start: float
    steps: int
    evaluations: int
    host: int
    device: int | None

    @property
    def seconds(self) -> float:
        return self.start + self.first + (self.steps - 1) * self.step + self.evaluations * self.evaluation


def measure(run: Run) -> Measured | str:
    """The measurement, or why there is none. Whatever the run does to its process, it does to no other."""
    context = forkserver_context(PRELOAD)
    ours, theirs = context.Pipe(duplex=False)
    child = context.Process(target=_child, args=(theirs, run, dict(os.environ)), daemon=True)
    child.start()
    theirs.close()
    try:
        return ours.recv() if ours.poll(PATIENCE) else f"no answer within {PATIENCE:.0f} s"
    except EOFError:
        child.join()
        return f"its process ended with {child.exitcode}: killed, or out of memory"
    finally:
        child.kill()
        child.join()


def _child(answer, run: Run, environment: dict[str, str]) -> None:
    os.environ.update(environment)
    try:
        found: Measured | str = _measured(run)
    except Exception as error:  # a result like any: the plan says it
        found = described(error)
    answer.send(found)


class _Stamps:
    """Takes a record's place: its rows, and when each came."""

    def __init__(self) -> None:
        self.rows: list[tuple[float, dict[str, Any]]] = []

    def append(self, row: dict[str, Any]) -> None:
        self.rows.append((time.perf_counter(), row))


def _measured(run: Run) -> Measured:
    from sobench.system import environment as machine

    _train(run, 1)  # what a process pays once, imports and the reading of the data, is no run's
    began = time.perf_counter()
    trainer, limit, rows, start = _train(run, _few(run.config["optimizer"]))
    memory = machine.peak_memory(trainer.device)
    times = [row["seconds"] for _, row in rows if row["kind"] == "train"]
    first, step = times[0], (times[-1] - times[0]) / (len(times) - 1) if len(times) > 1 else times[0]
    stamps = [began, *(stamp for stamp, _ in rows)]
    evaluation = [stamps[i + 1] - stamps[i] for i, (_, row) in enumerate(rows) if row["kind"] == "eval"][-1]
    steps = _steps(limit, run.config["budget"]["seconds"], step)
    return Measured(
        first,
        step,
        evaluation,
        start + trainer.warm_start_seconds,
        steps,
        trainer.budget.evaluations(steps),
        memory["peak_host_bytes"],
        memory["peak_device_bytes"],
    )


def _train(run: Run, steps: int) -> tuple[Any, int | None, list, float]:
    """The trainer after at most so many steps, the steps of the whole run, the stamped rows, and the seconds before the first."""
    from sobench.system import environment as machine
    from sobench.training.trainer import Trainer

    began = time.perf_counter()
    trainer = Trainer(run)
    start, limit, record = time.perf_counter() - began, trainer.budget.limit, _Stamps()
    machine.reset_peak_memory(trainer.device)
    trainer.budget.limit, trainer.budget.seconds, trainer.budget.log_every = min(steps, limit or MOST), SECONDS, 1
    trainer.train(record, lambda _: None, lambda *_: None)
    return trainer, limit, record.rows, start


def _few(optimizer: dict[str, Any]) -> int:
    """How many steps to look at: the first, and a whole period of whatever the method does periodically."""
    periods = [value for key, value in optimizer.items() if key.endswith("_period") and isinstance(value, int)]
    return 1 + min(MOST, max(STEPS, *periods, 0))


def _steps(limit: int | None, seconds: float | None, step: float) -> int:
    by_time = math.inf if seconds is None else math.ceil(seconds / step)
    return max(1, int(min(limit or math.inf, by_time)))
