"""`sobench report` and `reproduce`."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from sobench.cli.arguments import runs_of
from sobench.errors import Failure, UsageError


def report(args: argparse.Namespace) -> int:
    from sobench.report import experiment_of

    _write_reports([args.id], {args.id: runs_of(experiment_of(args.id), args.overrides)}, args.overrides)
    return 0


def reproduce(args: argparse.Namespace) -> int:
    """Run what is missing of the experiment, then write every report of the paper that its runs complete."""
    from sobench.cli import run as app
    from sobench.report import experiment_of, reports
    from sobench.results.rundir import KEEPS
    from sobench.results.state import state

    experiment = experiment_of(args.id)
    runs = {args.id: runs_of(experiment, args.overrides)}
    code = app.run([f"experiment={experiment}", *args.overrides])
    if not any(state(run.directory(run.config["runs"])).status in KEEPS for run in runs[args.id]):
        raise Failure(
            f"{args.id}: none of its {len(runs[args.id])} runs gave a result, see `sobench status {experiment}`"
        )
    have = {run.id for run in runs[args.id]}
    for name in reports():
        if name != args.id and name.split("/")[0] == args.id.split("/")[0]:
            theirs = _agreeing(experiment_of(name), args.overrides)
            if theirs and {run.id for run in theirs} <= have:
                runs[name] = theirs
    _write_reports([*sorted(set(runs) - {args.id}), args.id], runs, args.overrides)
    return code


def folder_of(name: str, runs, overrides: list[str]) -> Path:
    """reports/<paper>/<artifact>/<budget>, with the other settings that were changed in its name."""
    config = runs[0].config
    changed = sorted(word for word in _telling(overrides) if not word.startswith("budget="))
    variant = ",".join([config["budget"]["name"], *changed])
    return Path(config["reports"]) / name / re.sub(r"[^A-Za-z0-9=,._-]+", "-", variant)


def _telling(overrides: list[str]) -> list[str]:
    """The settings that say which runs are asked for; the others say where and how they run."""
    elsewhere = ("runs", "reports", "progress", "threads", "slots", "data.mirror", "data.cache")
    return [word for word in overrides if word.split("=")[0] not in elsewhere and not re.match(r"logger[.=]", word)]


def _agreeing(experiment: str, overrides: list[str]):
    """The runs of a sibling experiment; none where it has no cell that these overrides ask for."""
    try:
        return runs_of(experiment, overrides)
    except UsageError:
        return []


def _write_reports(names: list[str], runs: dict, overrides: list[str]) -> None:
    """Write each report, show the last on the terminal, and print the paths of all that was written."""
    from rich.console import Console

    from sobench.report import read, write
    from sobench.report.terminal import show

    paths = []
    for name in names:
        folder = folder_of(name, runs[name], overrides)
        paths += write(name, runs[name], Path(runs[name][0].config["runs"]), folder, settings=_telling(overrides))
    show(read(names[-1]).title, folder, Console())
    print()
    for path in paths:
        print(path)
