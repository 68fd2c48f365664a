"""`sobench tune`: run an experiment's grids on its tuning seeds and select the best settings of each cell."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sobench.cli.arguments import EXPERIMENT, of_command
from sobench.cli.writing import folder_of
from sobench.errors import Failure, UsageError
from sobench.system.text import plural

if TYPE_CHECKING:
    from sobench.config.run import Run


def tune(args: argparse.Namespace) -> int:
    """Run the missing trials, select the best of each cell, write the selection to tuned/ and to the reports, print it.

    tuned/ is a folder of the user's own conf/. Warns if a selected value is the smallest or the largest of its grid.
    Raises UsageError, and Failure if no trial finished with all of its seeds.
    """
    from sobench.cli.run import run as run_command
    from sobench.config import grid, tuning
    from sobench.config.registry import warn
    from sobench.report import tune_pages as pages
    from sobench.results.collection import collect
    from sobench.results.trials import searches

    selected = of_command(args)
    name = selected.experiment
    if name is None:
        raise UsageError(
            f"tune: got {' '.join(selected.overrides) or 'no argument'}, allowed: an experiment with grids, and "
            "settings: sobench tune EXPERIMENT budget=cpu"
        )
    overrides = [f"{EXPERIMENT}{name}", *selected.overrides]
    sweeper = grid.sweeper(overrides)
    tune_settings = tuning.checked(sweeper)
    kept = tuning.file_to_write(sweeper["tuned"]) if sweeper["tuned"] else None
    seedless = [override for override in overrides if not override.startswith("seed=")]
    reported_seeds = {run.seed for run in grid.expand(seedless)}
    overrides.append("hydra.sweeper.trials=true")
    runs = grid.expand(overrides)
    _check_score(tune_settings, runs[0])
    seeds = sorted({run.seed for run in runs})
    if shared_seeds := sorted({*seeds} & reported_seeds):
        raise UsageError(
            f"seed: got {shared_seeds[0]}, which {name} reports; allowed: others, such as {tune_settings['seeds']}"
        )
    code = run_command(overrides)
    results = collect(runs, Path(runs[0].config["runs"]))
    all_searches = searches(sweeper, results)
    if not any(search.best for search in all_searches):
        alone = ""
        if results.disturbed:
            alone = (
                f" undisturbed ({len(results.disturbed)} of {plural(len(runs), 'run')} shared a GPU or were contended)"
            )
        raise Failure(f"tune: no trial of {name} finished with all of its seeds{alone}")
    criterion = {key: tune_settings[key] for key in ("metric", "better", "at")}
    criterion |= {"seeds": seeds, "budget": runs[0].config["budget"]["name"]}
    folder = folder_of(f"{name}/tune", runs, selected.overrides)
    paths = pages.write(all_searches, criterion, name, folder)
    if kept:
        if not kept.parent.is_dir():
            print(f"made the folder {kept.parent} for the settings that are chosen")
        paths.append(pages.adopt(sweeper["tuned"], all_searches, criterion))
    for search in all_searches:
        best = search.best
        if best:
            for key in search.edge:
                warn(f"{search.label}: {key}={best.values[key]}: {pages.NOTE}")
    print(*paths, sep="\n")
    print(*pages.table_of_choices(all_searches, criterion), sep="\n")
    if not kept:
        print("not kept: the experiment names no file for it; `hydra.sweeper.tuned: NAME` in the experiment names one")
    return code


def _check_score(tune_settings: Mapping[str, Any], run: Run) -> None:
    """Raises UsageError for a place or a metric that does not exist."""
    from sobench.config import schema
    from sobench.config.by_path import short_name
    from sobench.report.schema.panels import AT
    from sobench.results.pick import check_metric

    schema.read(tune_settings["at"], AT, "hydra.sweeper.tune.at")
    if run.config["instrument"]["name"] == "none":  # else there are more metrics
        own = [short_name(path) for path in run.config["metrics"]]
        check_metric(tune_settings["metric"], "hydra.sweeper.tune.metric", own)
