"""`sobench tune`: run an experiment's grid on its tuning seeds, choose, and say how far the choice can be trusted."""

from __future__ import annotations

import argparse
from pathlib import Path

from sobench.cli.arguments import settings_of
from sobench.cli.report import folder_of
from sobench.errors import Failure, UsageError


def tune(args: argparse.Namespace) -> int:
    """Run the trials that are missing, choose, write the choice where the experiment finds it, and say where it lies on an edge."""
    from sobench.cli import run as app
    from sobench.config import grid
    from sobench.config.registry import warn
    from sobench.config.tuning import checked
    from sobench.report import tune_pages as pages
    from sobench.results.collection import collect
    from sobench.results.trials import searches

    words = [f"experiment={args.experiment}", *settings_of(args.overrides)]
    sweeper, reported = (
        grid.sweeper(words),
        {run.seed for run in grid.expand([w for w in words if not w.startswith("seed=")])},
    )
    criterion, words = checked(sweeper), [*words, "hydra.sweeper.trials=true"]
    runs = grid.expand(words)
    if shared := sorted({run.seed for run in runs} & reported):
        raise UsageError(
            f"seed: {shared[0]} is one of those that {args.experiment} reports; allowed: others, as {criterion['seeds']}"
        )
    code = app.run(words)
    results = collect(runs, Path(runs[0].config["runs"]))
    found = searches(sweeper, results)
    if not any(search.best for search in found):
        alone = f" alone on its GPU ({len(results.shared)} of {len(runs)} runs shared theirs)" if results.shared else ""
        raise Failure(f"tune: no trial of {args.experiment} finished with all of its seeds{alone}")
    said = {key: criterion[key] for key in ("metric", "better", "at")} | {
        "seeds": sorted({run.seed for run in runs}),
        "budget": runs[0].config["budget"]["name"],
    }
    written = pages.write(found, said, args.experiment, folder_of(f"{args.experiment}/tune", runs, args.overrides))
    written += [pages.adopt(sweeper["tuned"], found, said)] if sweeper["tuned"] else []
    for search in found:
        for key in search.edge:
            warn(f"{search.label}: {key}={search.best.values[key]}: {pages.NOTE}")
    print(*written, sep="\n")
    return code
