"""`sobench plan`: the runs that a sweep has left to do, their time and memory, and those that fit into a given time.

The estimate comes from a few real steps of one run of each cell, timed in a separate process that writes nothing. The
process of the command imports no torch.
"""

from __future__ import annotations

import argparse
import math
import os
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from sobench.cli.answer import Answer, shown
from sobench.cli.arguments import Selection, of_command, require_runs
from sobench.config.run import Run
from sobench.errors import described
from sobench.execution.isolation import PRELOAD
from sobench.system.parent import Owner, end_with
from sobench.system.processes import forkserver_context
from sobench.system.text import format_duration, format_ranges, parse_duration, plural, table

if TYPE_CHECKING:
    from sobench.results.rundir import Metrics
    from sobench.training.trainer import Trainer

MIN_STEPS, MAX_STEPS = 5, 50
"""Steps to measure after the first: as many as the optimizer's longest period, within these bounds."""

SECONDS = 5.0
"""No step begins later than this, in seconds."""

FEW = 1_000
"""Samples of the first step, which is not timed: it imports modules and reads the data, which a process does once."""

PATIENCE = 300.0
"""Seconds after which the measurement of a cell is abandoned."""

HEAD = ("cell", "runs", "done", "left", "per step", "per evaluation", "steps", "per run", "memory", "all left")


@dataclass(frozen=True)
class Measured:
    """The measurement of one run, times in seconds and memory in bytes."""

    first: float
    """Time of the first step."""
    step: float
    """Time of each further step."""
    evaluation: float
    """Time of one evaluation."""
    start: float
    """Time of everything before the first step."""
    steps: int
    """Steps of the whole run."""
    evaluations: int
    """Evaluations of the whole run."""
    host: int
    """Peak memory of the process."""
    device: int | None
    """Peak memory on the GPU; None on a CPU."""

    @property
    def seconds(self) -> float:
        """Time of the whole run."""
        return self.start + self.first + (self.steps - 1) * self.step + self.evaluations * self.evaluation


@dataclass
class Cell:
    """The runs of a cell, done and left to do, and the measurement of one of them, or the reason why there is none."""

    name: str
    done: list[Run] = field(default_factory=list)
    left: list[Run] = field(default_factory=list)
    cost: Measured | str | None = None

    @property
    def measured(self) -> Measured | None:
        return self.cost if isinstance(self.cost, Measured) else None


@dataclass(frozen=True)
class Within:
    """The runs that fit into a budget of `limit` seconds, and what they take.

    left_out: the seeds of the others by cell. command: makes exactly these runs; None without any.
    """

    limit: float
    chosen: list[Run]
    seconds: float
    left_out: dict[str, list[int]]
    command: str | None


def plan(args: argparse.Namespace) -> Answer:
    """The table, the total and, for a budget, the runs that fit and the command that runs them."""
    from sobench.execution.task import prepare_data

    selected = require_runs(of_command(args), "plan")
    if args.power:
        from sobench.cli.power import power

        return power(selected, args.budget)
    limit = parse_duration("--budget", args.budget) if args.budget else None
    cells = cells_of(selected.runs())
    prepare_data([run for cell in cells for run in cell.left])
    to_time = [cell for cell in cells if cell.left]
    for number, cell in enumerate(to_time, 1):
        print(f"timing a few steps: {number} of {len(to_time)}, {cell.name}", file=sys.stderr, flush=True)
        cell.cost = measure(cell.left[0])
    within = None if limit is None else within_limit(limit, cells, selected)
    lines = [*plan_table(cells), total(cells), *(_within_lines(within) if within else ())]
    return Answer(partial(_document, cells, within), shown(*lines))


def _document(cells: Sequence[Cell], within: Within | None) -> dict[str, Any]:
    """The plan for programs."""
    return {
        "cells": [
            {
                "name": cell.name,
                "done": [run.id for run in cell.done],
                "left": [run.id for run in cell.left],
                "measured": {**asdict(cost), "seconds": cost.seconds} if (cost := cell.measured) else None,
                "not_measured": cell.cost if isinstance(cell.cost, str) else None,
            }
            for cell in cells
        ],
        "done": sum(len(cell.done) for cell in cells),
        "left": sum(len(cell.left) for cell in cells),
        "seconds": sum(cost.seconds * len(cell.left) for cell in cells if (cost := cell.measured)),
        "within": {**vars(within), "chosen": [run.id for run in within.chosen]} if within else None,
    }


def cells_of(runs: Sequence[Run]) -> list[Cell]:
    """The cells in the order of their first run, each with its runs that are done and those that are left."""
    from sobench.results.rundir import RunDirectory

    cells: dict[str, Cell] = {}
    for run in runs:
        cell = cells.setdefault(run.cell, Cell(run.slug.partition("/")[0]))
        finished = RunDirectory(run, run.config["runs"]).finished()
        (cell.done if finished else cell.left).append(run)
    return list(cells.values())


# The table and the total


def plan_table(cells: Sequence[Cell]) -> list[str]:
    """A line for each cell, and one below it if it could not be measured."""
    head, *rows = table([HEAD, *map(_row, cells)], align="lr")
    lines = [head]
    for cell, row in zip(cells, rows, strict=True):
        lines.append(row)
        if isinstance(cell.cost, str):
            lines.append(f"    not measured: {cell.cost}")
    return lines


def _row(cell: Cell) -> tuple[str, ...]:
    counts = (cell.name, str(len(cell.done) + len(cell.left)), str(len(cell.done)), str(len(cell.left)))
    cost = cell.measured
    if cost is None:
        return (*counts, *[""] * 6)
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
    """ "0.83 ms", "1.2 s" """
    return f"{seconds * 1e3:.3g} ms" if seconds < 1 else format_duration(seconds)


def total(cells: Sequence[Cell]) -> str:
    """ "3 cells, 15 runs: 5 done, 10 left, 1 h 20 min run sequentially, at most 512 MB" """
    done = sum(len(cell.done) for cell in cells)
    left = sum(len(cell.left) for cell in cells)
    known = [(cost, len(cell.left)) for cell in cells if (cost := cell.measured)]
    unknown = sum(len(cell.left) for cell in cells if not cell.measured)
    text = f"{plural(len(cells), 'cell')}, {plural(done + left, 'run')}: {done:,} done, {left:,} left"
    if known:
        seconds = sum(cost.seconds * runs for cost, runs in known)
        memory = max(cost.host for cost, _ in known)
        text += f", {format_duration(seconds)} run sequentially, at most {memory / 1e6:,.0f} MB"
    return text + (f"; {unknown:,} of them not measured and not included" if unknown else "")


# The runs that fit into a budget


def fitting(limit: float, cells: Sequence[Cell]) -> list[Run]:
    """The runs to make within `limit` seconds, run sequentially, in their order. No run that is left out fits into the
    rest.

    Every cell gets its first seed before any cell gets its second, and the cheapest cells come first. Runs that are
    done count as seeds. A run that does not fit is passed over, and the time goes to the next that does: to further
    seeds of cheaper cells. A cell that could not be measured gets none.
    """
    candidates = [
        (len(cell.done) + place, cost.seconds, order, run)
        for order, cell in enumerate(cells)
        if (cost := cell.measured)
        for place, run in enumerate(cell.left)
    ]
    chosen, used = [], 0.0
    for _, seconds, _, run in sorted(candidates, key=lambda candidate: candidate[:3]):
        if used + seconds <= limit:
            used += seconds
            chosen.append(run)
    return chosen


def within_limit(limit: float, cells: Sequence[Cell], selected: Selection) -> Within:
    """What fits into a budget. Writes a file of jobs, if that is not the whole sweep."""
    chosen = fitting(limit, cells)
    ids = {run.id for run in chosen}
    seconds = sum(cost.seconds for cell in cells if (cost := cell.measured) for run in cell.left if run.id in ids)
    left_out = {cell.name: [run.seed for run in cell.left if run.id not in ids] for cell in cells}
    left_out = {name: seeds for name, seeds in left_out.items() if seeds}
    command = _command(chosen, bool(left_out), selected) if chosen else None
    return Within(limit, chosen, seconds, left_out, command)


def _within_lines(within: Within) -> list[str]:
    """The lines about a budget: what fits into it, what is left out, and the command."""
    chosen = within.chosen
    amount = f"{plural(len(chosen), 'run')}, {format_duration(within.seconds)}" if chosen else "no run"
    lines = [f"within {format_duration(within.limit)}: {amount}"]
    lines += [f"left out: {name}: seed {format_ranges(seeds)}" for name, seeds in within.left_out.items()]
    return [*lines, *([f"run them with: {within.command}"] if within.command else [])]


def _command(chosen: Sequence[Run], part: bool, selected: Selection) -> str:
    """The command that makes exactly these runs. part: they are not the whole sweep, and go to a file of jobs."""
    from sobench.config import jobs

    if not part:
        return shlex.join(["sobench", "run", *selected.arguments])
    file = jobs.write(Path(chosen[0].config["runs"]), "plan", [run.overrides for run in chosen])
    about_hydra = [override for override in selected.overrides if override.startswith("hydra")]
    return shlex.join(["sobench", "run", "-m", jobs.option(file), *about_hydra])


# The measurement


def measure(run: Run, patience: float = PATIENCE) -> Measured | str:
    """The measurement of a run, or the reason why there is none. A crash of the run's process is such a reason.

    patience: the seconds after which the measurement is abandoned.
    """
    context = forkserver_context(PRELOAD)
    ours, theirs = context.Pipe(duplex=False)
    child = context.Process(target=_child, args=(theirs, run, Owner.this_process(), dict(os.environ)), daemon=True)
    child.start()
    theirs.close()
    try:
        return ours.recv() if ours.poll(patience) else f"no answer within {patience:.0f} s"
    except EOFError:
        child.join()
        return f"its process ended with exit code {child.exitcode}: killed, or out of memory"
    finally:
        child.kill()
        child.join()


def _child(answer: Connection, run: Run, owner: Owner, environment: dict[str, str]) -> None:
    """In the measuring process: measure and send the result, or the reason why there is none."""
    end_with(owner)
    os.environ.update(environment)
    try:
        result: Measured | str = _measured(run)
    except Exception as error:
        result = described(error)
    answer.send(result)


class _Stamps:
    """Stands in for a run's record: keeps its rows in memory, and the time at which each came."""

    def __init__(self) -> None:
        self.rows: list[tuple[float, dict[str, Any]]] = []

    def append(self, row: dict[str, Any]) -> None:
        self.rows.append((time.perf_counter(), row))


def _measured(run: Run) -> Measured:
    from sobench.system import environment

    _train(_on_few_samples(run), 1)
    began = time.perf_counter()
    trainer, limit, stamps, start = _train(run, _steps_to_measure(run.config["optimizer"]))
    memory = environment.peak_memory(trainer.device)
    times = [row["seconds"] for _, row in stamps.rows if row["kind"] == "train"]
    first, step = times[0], (times[-1] - times[0]) / (len(times) - 1) if len(times) > 1 else times[0]
    steps = _steps_of_run(limit, run.config["budget"]["seconds"], step)
    return Measured(
        first=first,
        step=step,
        evaluation=_last_evaluation(began, stamps),
        start=start + trainer.warm_start_seconds + trainer.clock.paused_seconds,
        steps=steps,
        evaluations=trainer.budget.evaluations(steps),
        host=memory["peak_host_bytes"] or 0,
        device=memory["peak_device_bytes"],
    )


def _on_few_samples(run: Run) -> Run:
    """The run without a long warm start or evaluation, which cost as much as all that is timed."""
    budget = run.config["budget"]
    return replace(run, config={**run.config, "budget": {**budget, "samples": min(budget["samples"] or FEW, FEW)}})


def _last_evaluation(began: float, stamps: _Stamps) -> float:
    """Seconds from the row before the last evaluation, or the beginning, to its own row."""
    before, seconds = began, 0.0
    for stamp, row in stamps.rows:
        if row["kind"] == "eval":
            seconds = stamp - before
        before = stamp
    return seconds


def _train(run: Run, steps: int) -> tuple[Trainer, int | None, _Stamps, float]:
    """Train for at most `steps` steps.

    Returns the trainer, the steps of the whole run (None: no limit), the rows, and the seconds before the first step.
    """
    from sobench.system import environment
    from sobench.training.trainer import Trainer

    began = time.perf_counter()
    trainer = Trainer(run)
    start, limit, stamps = time.perf_counter() - began, trainer.budget.limit, _Stamps()
    environment.reset_peak_memory(trainer.device)
    trainer.budget.limit, trainer.budget.seconds, trainer.budget.log_every = min(steps, limit or MAX_STEPS), SECONDS, 1
    record = cast("Metrics", stamps)  # training only appends to its record
    trainer.train(record, lambda _: None, lambda *_: None)
    return trainer, limit, stamps, start


def _steps_to_measure(optimizer: dict[str, Any]) -> int:
    """The first step, and one whole period of what the optimizer does periodically, within MIN_STEPS and MAX_STEPS."""
    return 1 + min(MAX_STEPS, max(MIN_STEPS, longest_period(optimizer)))


def longest_period(optimizer: dict[str, Any]) -> int:
    """The largest number of steps after which an optimizer with these settings does something again; 1 without any."""
    return max(1, *(value for key, value in optimizer.items() if key.endswith("_period") and isinstance(value, int)), 1)


def _steps_of_run(limit: int | None, seconds: float | None, step: float) -> int:
    """The steps of a run that ends after `limit` steps or `seconds` seconds (None: no limit), `step` seconds each."""
    by_time = math.inf if seconds is None else math.ceil(seconds / step)
    return max(1, int(min(limit or math.inf, by_time)))
