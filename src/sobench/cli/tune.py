"""`sobench tune`: run an experiment's grids on its tuning seeds and select the best settings of each cell."""

from __future__ import annotations

import argparse
from functools import partial

from sobench.cli import tune_suite
from sobench.cli.answer import Answer, shown
from sobench.cli.arguments import EXPERIMENT, of_command
from sobench.cli.tuning import Tuning, require_choice
from sobench.errors import UsageError


def tune(args: argparse.Namespace) -> Answer:
    """Run the missing trials, select the best of each cell, write the selection to tuned/ and to the reports.

    tuned/ is a folder of the user's own conf/. Warns if a selected value is the smallest or the largest of its grid.
    Raises UsageError, and Failure if no trial finished with all of its seeds.
    """
    from sobench.cli.run import run as run_command
    from sobench.config import grid, tuning
    from sobench.config.registry import warn
    from sobench.report import tune_pages as pages

    if suite := tune_suite.named(args):
        return tune_suite.tune(suite, args)
    selected = of_command(args)
    name = selected.experiment
    if name is None:
        raise UsageError(
            f"tune: got {' '.join(selected.overrides) or 'no argument'}, allowed: an experiment with grids, and "
            "settings: sobench tune EXPERIMENT budget=cpu; or --suite NAME"
        )
    overrides = [f"{EXPERIMENT}{name}", *selected.overrides]
    sweeper = grid.sweeper(overrides)
    tuning.checked(sweeper)
    seedless = [override for override in overrides if not override.startswith("seed=")]
    reported_seeds = {run.seed for run in grid.expand(seedless)}
    overrides.append("hydra.sweeper.trials=true")
    its = Tuning.of(name, sweeper, grid.expand(overrides), selected.overrides)
    if shared_seeds := sorted({run.seed for run in its.runs} & reported_seeds):
        raise UsageError(
            f"seed: got {shared_seeds[0]}, which {name} reports; allowed: others, such as {sweeper['tune']['seeds']}"
        )
    code = run_command(overrides)
    require_choice([its], name)
    paths = its.write()
    for search, key, value in its.edges:
        warn(f"{search.label}: {key}={value}: {pages.NOTE}")
    lines = [*map(str, paths), *pages.table_of_choices(its.searches, its.criterion)]
    if not its.kept:
        lines.append(
            "not kept: the experiment names no file for it; `hydra.sweeper.tuned: NAME` in the experiment names one"
        )
    return Answer(partial(its.document, paths), shown(*lines), code)
