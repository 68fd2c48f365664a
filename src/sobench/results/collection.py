"""The runs that an experiment asks for, joined with what is found of them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from sobench.config.run import Run
from sobench.results import fingerprint
from sobench.results.frame import joined
from sobench.results.reading import records
from sobench.results.record import Wanted, everything
from sobench.results.row_table import Table
from sobench.results.stale import Judge, why
from sobench.results.state import KEEPS, State

SHARED = "shared"
"""The status of a run that shared its GPU, where its time is asked for."""


@dataclass(frozen=True)
class Results:
    """`runs` are the expected ones; `states` and `environments` hold one for each, by id (an empty environment where there is
    none); `table` has the rows of those that have any; `stale` says why, by id, of those made by older code of their method or from
    other data."""

    runs: list[Run]
    states: dict[str, State]
    table: Table
    environments: dict[str, dict] = field(default_factory=dict)
    stale: dict[str, str] = field(default_factory=dict)

    def select(self, where: Mapping[str, object]) -> list[Run]:
        """The expected runs whose configuration fits, see `matches`."""
        fits = np.ones(len(self.runs), dtype=bool)
        for key, wanted in where.items():
            fits &= self._fits(key, wanted)
        return [self.runs[i] for i in np.flatnonzero(fits)]

    def _fits(self, key: str, wanted: object) -> np.ndarray:
        """Which of the runs have the value [runs]: a report asks for the same few again and again."""
        place = key, repr(wanted)
        if place not in self._fitting:
            values, numbers = self._settings(key)
            self._fitting[place] = np.array([_fits(value, wanted) for value in values], dtype=bool)[numbers]
        return self._fitting[place]

    def _settings(self, key: str) -> tuple[list, np.ndarray]:
        """The different values at a dotted path of the runs' configurations, and which of them each run has [runs]."""
        if key not in self._values:
            values = [setting(run.config, key) for run in self.runs]
            names = [repr(value) if isinstance(value, list) else value for value in values]
            different = dict(zip(names, values, strict=True))
            number = dict(zip(different, range(len(different)), strict=True))
            self._values[key] = list(different.values()), np.fromiter((number[name] for name in names), dtype=int)
        return self._values[key]

    @cached_property
    def _values(self) -> dict[str, tuple[list, np.ndarray]]:
        return {}

    @cached_property
    def _fitting(self) -> dict[tuple[str, str], np.ndarray]:
        return {}

    @cached_property
    def shared(self) -> list[Run]:
        """The runs that shared their GPU."""
        return [run for run in self.runs if self.states[run.id].summary.get("shared")]

    def alone(self, of_time: bool) -> dict[str, State]:
        """The states of all runs; one that shared its GPU counts as SHARED where a time is asked for, and in any case where
        seconds were its budget."""
        left_out = self.shared if of_time else [run for run in self.shared if run.config["budget"].get("seconds")]
        return {**self.states, **{run.id: replace(self.states[run.id], status=SHARED) for run in left_out}}

    def rows(self, runs: list[Run], kind: str) -> Table:
        """Their rows of this kind."""
        return self.table.of_kind(kind).of_runs(run.id for run in runs)

    @cached_property
    def frame(self) -> pd.DataFrame:
        """All rows and all columns that were asked for."""
        return self.table.frame()


def collect(runs: Sequence[Run], root: Path, wanted: Wanted = everything) -> Results:
    """Read what is under `root` of the expected runs, of their rows the columns that are wanted; two of the same id are one."""
    unique = list({run.id: run for run in runs}.values())
    directories = [os.path.join(root, run.slug) for run in unique]
    found = dict(zip((run.id for run in unique), records(directories, wanted), strict=True))
    judge, old = Judge(), {}
    for run in unique:
        then = fingerprint.of(found[run.id].environment)
        if then and found[run.id].state.status in KEEPS and (reason := why(then, judge.now(run.config))):
            old[run.id] = reason
    table = joined(directories, list(found.values()), wanted)
    return Results(
        unique,
        {run: record.state for run, record in found.items()},
        table,
        {run: record.environment for run, record in found.items()},
        old,
    )


def matches(config: Mapping, where: Mapping[str, object]) -> bool:
    """Whether the configuration has every value of `where`, its keys dotted paths (`optimizer.lr`). A group stands for
    its name (`dataset: mnist`); a list is any of its members; a key the configuration has not does not match."""
    return all(_fits(setting(config, key), wanted) for key, wanted in where.items())


def _fits(value: object, wanted: object) -> bool:
    return value in wanted if isinstance(wanted, list) else value == wanted


def setting(config: Mapping, key: str) -> object:
    """The value at a dotted path of the configuration (of a group: its name); None where there is none."""
    node: object = config
    for part in key.split("."):
        if not isinstance(node, Mapping) or part not in node:
            return None
        node = node[part]
    return node.get("name") if isinstance(node, Mapping) else node
