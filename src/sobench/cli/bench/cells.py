"""`sobench bench cells`: the time of a step and of the warm start of each cell, relative to SGD with momentum.

The cell's optimizer and SGD on its problem take turns in one process, in blocks of some 20 ms, so that both meet the
same machine. A round is a whole period of what the optimizer does periodically; the median of the rounds' ratios
counts. First epoch and evaluations are not measured. The steps to measure are the same on a fast and on a slow machine,
as the cost of some methods' steps changes while they train. A warm start is measured by itself, in steps of SGD that
follow it. The result is kept with the runs (see `sobench.results.step_costs`), and is the unit of `x: cost` in reports.
A repeated command measures what is missing, or was measured with older code.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from sobench.cli import compare
from sobench.cli.arguments import of_command, require_runs
from sobench.cli.bench.overhead import ratio, seconds
from sobench.cli.bench.step import SGD, Walker
from sobench.cli.plan import longest_period
from sobench.config.grid import expand
from sobench.config.run import Run
from sobench.errors import described
from sobench.execution.task import prepare_data
from sobench.results import step_costs
from sobench.results.fingerprint import fingerprint
from sobench.results.record import WARM_START_COST
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
WARM_START = step_costs.NUMBERS[WARM_START_COST]
WARM_STARTS = 5
"""So many warm starts at most, of which the median counts; after SECONDS no other begins."""
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
    """The cost in words. Measures and keeps what is not known of it."""
    yardstick = _trainer(run.config, yardstick=True)
    about = environment(yardstick.device)
    machine = step_costs.machine(about)
    known = step_costs.read(file).get(machine)
    if known and (again or why(known["fingerprint"], Judge().now(run.config))):
        known = None
    said = f"{known['ratio']:.2f} (measured on {known['started']})" if known else ""
    if known and WARM_START in known:
        return said + _with_warm_start(known)
    sgd = Walker(yardstick, SETTLED[0])
    cost = known or {}
    if not known:
        pairs = _steps(run, sgd)
        ratios = [a / b for a, b in pairs]
        cost = {"ratio": statistics.median(ratios), "lowest": min(ratios), "highest": max(ratios), "rounds": len(pairs)}
        cost |= zip(("seconds", "sgd_seconds"), map(statistics.median, zip(*pairs)), strict=True)
        cost |= {"fingerprint": fingerprint(run.config), **about}
        said = ratio(pairs, more=f"; {len(pairs)} rounds").strip()
    cost[WARM_START] = _warm_start(run, sgd)
    step_costs.keep(file, machine, cost)
    return said + _with_warm_start(cost)


def _with_warm_start(cost: Mapping[str, Any]) -> str:
    return f", warm start {cost[WARM_START]:.3g} steps of SGD" if cost[WARM_START] >= 0.1 else ""


def _steps(run: Run, sgd: Walker) -> list[Pair]:
    period, epoch = longest_period(run.config["optimizer"]), sgd.trainer.problem.steps_per_epoch
    least, most = SETTLED
    return measure(Walker(_trainer(run.config), max(least, period, min(epoch, most))), sgd, period)


def _warm_start(run: Run, sgd: Walker) -> float:
    """The median time of a warm start in steps of SGD, each time of a new optimizer; 0 without a warm start."""
    ratios: list[float] = []
    end = time.monotonic() + SECONDS
    while not ratios or (len(ratios) < WARM_STARTS and time.monotonic() < end):
        trainer = _trainer(run.config)
        warm_start = getattr(trainer.optimizer, "warm_start", None)
        if warm_start is None:
            return 0.0
        taken = seconds(partial(warm_start, trainer.problem.first_objective()), trainer.device)
        steps = max(1, round(BLOCK / (sgd.seconds(SETTLED[0]) / SETTLED[0])))
        ratios.append(taken / (sgd.seconds(steps) / steps))
    return statistics.median(ratios)


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
        of_cell = of_sgd = 0.0
        blocks = [min(block, steps - done) for done in range(0, steps, block)]
        for size in blocks:
            of_cell += cell.seconds(size)
            of_sgd += sgd.seconds(sgd_block)
        pairs.append((of_cell / steps, of_sgd / (sgd_block * len(blocks))))
    return pairs
