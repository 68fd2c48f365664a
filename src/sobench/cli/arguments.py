"""What the words of a command stand for: an experiment, settings, runs."""

from __future__ import annotations

import argparse
from pathlib import Path

from sobench.errors import UsageError

OVERRIDES = "settings of the experiment, as for `sobench run` (budget=cpu seed=0,1 runs=DIR ...)"


def words_of(args: argparse.Namespace) -> tuple[str | None, list[str]]:
    """The experiment, or None where only settings are given; and the settings."""
    if args.experiment and "=" in args.experiment:
        return None, settings_of([args.experiment, *args.overrides])
    return args.experiment, settings_of(args.overrides)


def root_of(words: list[str]) -> Path:
    """The folder of the runs, where no experiment says it."""
    return Path(next((w.removeprefix("runs=") for w in words if w.startswith("runs=")), "runs"))


def runs_of(experiment: str, overrides: list[str]):
    """The runs that an experiment asks for with these settings."""
    from sobench.config.grid import expand

    return expand([f"experiment={experiment}", *settings_of(overrides)])


def settings_of(words: list[str]) -> list[str]:
    """The words as they are. Raises UsageError for one that is no setting."""
    for word in words:
        if "=" not in word:
            raise UsageError(f"{word}: allowed: KEY=VALUE, {OVERRIDES}")
    return words
