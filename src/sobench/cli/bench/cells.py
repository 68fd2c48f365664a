"""`sobench bench cells`: the time of a step of each cell, relative to SGD with momentum on its problem.

The cell's optimizer and SGD take turns in one process, in blocks of some 20 ms, so that both meet the same machine. A
round is a whole period of what the optimizer does periodically; the median of the rounds' ratios counts. Warm start,
first epoch and evaluations are not measured. The steps to measure are the same on a fast and on a slow machine, as the
cost of some methods' steps changes while they train. The result is kept with the runs (see
`sobench.results.step_costs`), and is the unit of `x: cost` in reports. A repeated command measures what is missing, or
was measured with older code.
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sobench.cli import compare
from sobench.cli.arguments import of_command, require_runs
from sobench.cli.bench.overhead import ratio
from sobench.cli.bench.step import SGD, Walker
from sobench.cli.plan import longest_period
from sobench.config.grid import expand
from sobench.config.run import Run
from sobench.errors import described
from sobench.execution.task import prepare_data
from sobench.results import step_costs
from sobench.results.fingerprint import fingerprint
from sobench.results.stale import Judge, why
from sobench.system import leases
from sobench.system.environment import environment
from sobench.training.trainer import Trainer

BLOCK = 0.02
"""Seconds of a block of steps, about; at least one step."""
STEPS = 1000
"""Steps of the cell to measure, in whole rounds."""
SECONDS = 20.0
"""The rest is left out of a cell whose measured steps have taken this long, in seconds; ROUNDS are always made."""
ROUNDS = 3
SETTLED = 5, 200
"""Steps before the first round: an epoch within these bounds, or one whole period if that is longer."""

Pair = tuple[float, float]
"""Seconds a step, of the cell and of SGD."""


def cells(args: argparse.Namespace) -> int:
    """Print a line for each cell. Returns 1 if one could not be measured."""
    runs = _one_a_cell(_asked(args))
    prepare_data(runs)
    failed = 0
    for run in runs:
        file = step_costs.path(run.config["runs"], run.config)
        name = run.slug.partition("/")[0]
        try:
            with leases.leased(run.config, run.slug, print) as lease:
                print(f"{name}: {_cost(replace(run, config=lease.placed(run.config)), file, args.again)}", flush=True)
        except Exception as error:  # of the optimizer, or of a cell that this machine cannot hold
            failed += 1
            print(f"{name}: not measured: {described(error)}", flush=True)
    return int(failed > 0)


def _asked(args: argparse.Namespace) -> list[Run]:
    """The runs of an experiment or of settings; of a suite, those that `sobench compare` makes with the same words."""
    if args.suite:
        return compare.runs_of(args.suite, [args.experiment, *args.overrides])
    return require_runs(of_command(args), "bench cells").runs()


def _one_a_cell(runs: Sequence[Run]) -> list[Run]:
    """The first run of each cell; of cells that have their steps in common, one."""
    first: dict[Path, Run] = {}
    for run in {run.cell: run for run in reversed(runs)}.values():
        first[step_costs.path("", run.config)] = run
    return list(reversed(first.values()))


def _cost(run: Run, file: Path, again: bool) -> str:
    """The cost in words. Measures and keeps it, unless it is known."""
    sgd = _trainer(run.config, yardstick=True)
    about = environment(sgd.device)
    machine = step_costs.machine(about)
    known = step_costs.read(file).get(machine)
    if known and not again and not why(known["fingerprint"], Judge().now(run.config)):
        return f"{known['ratio']:.2f} (measured on {known['started']})"
    period, epoch = longest_period(run.config["optimizer"]), sgd.problem.steps_per_epoch
    least, most = SETTLED
    other = Walker(_trainer(run.config), max(least, period, min(epoch, most)))
    pairs = measure(other, Walker(sgd, least), period)
    ratios = [a / b for a, b in pairs]
    cost = {"ratio": statistics.median(ratios), "lowest": min(ratios), "highest": max(ratios), "rounds": len(pairs)}
    times = dict(zip(("seconds", "sgd_seconds"), map(statistics.median, zip(*pairs)), strict=True))
    step_costs.keep(file, machine, {**cost, **times, "fingerprint": fingerprint(run.config), **about})
    return ratio(pairs, more=f"; {len(pairs)} rounds").strip()


def _trainer(config: Mapping[str, Any], yardstick: bool = False) -> Trainer:
    """The trainer of a cell without its instrument; yardstick: that of SGD with momentum on the same problem."""
    settings = {**config, "instrument": {"name": "none"}}
    if yardstick:
        sgd = expand([*SGD.split(), "optimizer.lr=1e-6"])[0].config
        settings |= {key: sgd[key] for key in ("optimizer", "schedule")}
    return Trainer(Run.of(settings))


def measure(cell: Walker, sgd: Walker, period: int) -> list[Pair]:
    """The pairs of the rounds; each round is a multiple of `period` steps."""
    step, sgd_step = cell.seconds(period) / period, sgd.seconds(SETTLED[0]) / SETTLED[0]
    block = max(1, round(BLOCK / step))
    sgd_block = max(1, round(min(max(BLOCK, step), 10 * BLOCK) / sgd_step))
    steps = math.ceil(block / period) * period
    pairs: list[Pair] = []
    while len(pairs) < ROUNDS or (len(pairs) * steps < STEPS and sum(a for a, _ in pairs) * steps < SECONDS):
        seconds = sgd_seconds = 0.0
        blocks = [min(block, steps - done) for done in range(0, steps, block)]
        for size in blocks:
            seconds += cell.seconds(size)
            sgd_seconds += sgd.seconds(sgd_block)
        pairs.append((seconds / steps, sgd_seconds / (sgd_block * len(blocks))))
    return pairs
