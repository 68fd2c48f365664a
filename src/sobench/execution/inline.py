"""Runs that are made in this process: `sobench.run`, for scripts and notebooks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sobench.config import grid
from sobench.config.jobs import quoted, word
from sobench.errors import UsageError
from sobench.execution import task
from sobench.execution.sweep import Sweep

if TYPE_CHECKING:
    import pandas as pd

    from sobench.config.run import Run


def run(*words: str, settings: Mapping[str, Any] | None = None, **groups: Any) -> pd.DataFrame:
    """Make the runs that `sobench run -m` makes, one after the other in this process; those with a result are kept.

        sobench.run(dataset="digits", optimizer=["sgd", "kfac"], settings={"optimizer.lr": [0.1, 0.01]}, seed=range(3))
        sobench.run("experiment=demo/digits", "budget=smoke")

    words: settings as on the command line, KEY=VALUE. settings: values by dotted paths. groups: settings whose names
    have no dot. A list or a range holds the values of a sweep. A tuple is one value: {"model.widths": (64, 64)}; a list
    of dicts is one too: {"optimizer.groups": [{"match": "bias", "lr": 0.1}]}.

    Returns a row for each run, as `sobench.results` does. A run that fails has its state and the reason there. Raises
    UsageError for a wrong setting, before any run starts.
    """
    runs = grid.expand([*map(_checked, words), *as_words(groups, settings)])
    make(runs)
    from sobench.results.run_frame import of_directories

    return of_directories([one.directory(Path(one.config["runs"])) for one in runs])


def make(runs: Sequence[Run]) -> None:
    """Make runs one after the other in this process; those with a result are kept. Raises SobenchError."""
    task.begin()
    with Sweep(runs, "this process") as sweep:
        while jobs := sweep.todo():
            with sweep.launching(jobs):
                for number, job in enumerate(jobs, 1):
                    task.make(job, f"{number}/{len(jobs)}")


def as_words(groups: Mapping[str, Any], settings: Mapping[str, Any] | None = None) -> list[str]:
    """Settings as words of the command line, see `run`. Raises UsageError for a list without values."""
    given = {**groups, **(settings or {})}
    return [f"{key}={_values(key, value)}" for key, value in given.items()]


def _checked(word: str) -> str:
    if not isinstance(word, str) or "=" not in word:
        raise UsageError(f"run: got {word!r}, allowed: KEY=VALUE, or a keyword argument")
    return word


def _values(key: str, given: Any) -> str:
    """The values of a setting in the grammar of Hydra's overrides."""
    if isinstance(given, list) and given and all(isinstance(part, Mapping) for part in given):
        return _value(tuple(given))
    if isinstance(given, (list, range, np.ndarray)):
        if not len(given):
            raise UsageError(f"{key}: got no value, allowed: one or more")
        return ",".join(_value(part) for part in given)
    return _value(given)


def _value(given: Any) -> str:
    if hasattr(given, "item"):  # a number of numpy
        given = given.item()
    if isinstance(given, (str, Path)):
        return word(str(given))
    return quoted(list(given) if isinstance(given, tuple) else given)
