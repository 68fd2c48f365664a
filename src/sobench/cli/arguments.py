"""Turn the arguments of a command into an experiment, its overrides, its runs and their folder."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sobench.errors import UsageError

if TYPE_CHECKING:
    from sobench.config.run import Run

OVERRIDES = "settings of the experiment, as for `sobench run` (budget=cpu seed=0,1 runs=DIR ...)"


def experiment_and_overrides(args: argparse.Namespace) -> tuple[str | None, list[str]]:
    """The experiment, or None if the command has overrides only; and the overrides.

    Raises UsageError as `check_overrides` does.
    """
    if args.experiment and "=" in args.experiment:
        return None, check_overrides([args.experiment, *args.overrides])
    return args.experiment, check_overrides(args.overrides)


def runs_folder(overrides: Sequence[str]) -> Path:
    """The folder of the runs, for a command without an experiment: the value of `runs=DIR`, else `runs`."""
    folders = [override.removeprefix("runs=") for override in overrides if override.startswith("runs=")]
    return Path(folders[0] if folders else "runs")


def runs_of(experiment: str, overrides: Sequence[str]) -> list[Run]:
    """The runs of an experiment with these overrides. Raises UsageError."""
    from sobench.config.grid import expand

    return expand([f"experiment={experiment}", *check_overrides(overrides)])


def check_overrides(overrides: Sequence[str]) -> list[str]:
    """The overrides as they are. Raises UsageError for one that is not KEY=VALUE, or that `advice.check` refuses."""
    from sobench.config import advice

    for override in overrides:
        if "=" not in override:
            raise UsageError(advice.not_a_setting(override, overrides))
    advice.check(overrides)
    return list(overrides)
