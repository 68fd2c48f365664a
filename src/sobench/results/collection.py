"""The runs that an experiment asks for, joined with the results of those that are there."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sobench.config.registry import warn
from sobench.config.run import Run
from sobench.results import fingerprint, step_costs
from sobench.results.axes import COST_AXES
from sobench.results.frame import joined
from sobench.results.pick import MEASURED_FOR
from sobench.results.reading import records
from sobench.results.record import STEP_COST, Record, Wanted, everything
from sobench.results.row_table import Table
from sobench.results.stale import Judge, why
from sobench.results.state import KEEPS, State


@dataclass(frozen=True)
class Results:
    """The expected runs and their results.

    states, environments: one for each run, by id; an environment may be empty. table: the rows of all runs. stale: the
    reason, by id, of the runs that were made by older code of their method or from other data.
    """

    runs: list[Run]
    states: dict[str, State]
    table: Table
    environments: dict[str, dict[str, Any]] = field(default_factory=dict)
    stale: dict[str, str] = field(default_factory=dict)

    def of(self, ids: Collection[str]) -> Results:
        """The results of these runs alone."""
        return Results(
            [run for run in self.runs if run.id in ids],
            {id: state for id, state in self.states.items() if id in ids},
            self.table.of_runs(ids),
            {id: environment for id, environment in self.environments.items() if id in ids},
            {id: reason for id, reason in self.stale.items() if id in ids},
        )

    def select(self, where: Mapping[str, object]) -> list[Run]:
        """The expected runs whose configuration matches `where`, see `matches`."""
        fits = np.ones(len(self.runs), dtype=bool)
        for key, value in where.items():
            fits &= self._fits(key, value)
        return [self.runs[i] for i in np.flatnonzero(fits)]

    def _fits(self, key: str, value: object) -> np.ndarray:
        """A flag for each run [runs]: whether it has the value. Cached, as a report asks for the same values often."""
        place = key, repr(value)
        if place not in self._fitting:
            values, numbers = self._settings(key)
            self._fitting[place] = np.array([_fits(other, value) for other in values], dtype=bool)[numbers]
        return self._fitting[place]

    def _settings(self, key: str) -> tuple[list[object], np.ndarray]:
        """The distinct values at a dotted path of the runs' configurations, and each run's place in them [runs]."""
        if key not in self._values:
            values = [setting(run.config, key) for run in self.runs]
            names = [repr(value) if isinstance(value, list) else value for value in values]
            distinct = dict(zip(names, values, strict=True))
            number = {name: place for place, name in enumerate(distinct)}
            self._values[key] = list(distinct.values()), np.fromiter((number[name] for name in names), dtype=int)
        return self._values[key]

    @cached_property
    def _values(self) -> dict[str, tuple[list[object], np.ndarray]]:
        return {}

    @cached_property
    def _fitting(self) -> dict[tuple[str, str], np.ndarray]:
        return {}

    @cached_property
    def disturbed(self) -> dict[str, str]:
        """The runs whose times do not count, by id: SHARED or CONTENDED, see `State.disturbed`."""
        reasons = {run.id: self.states[run.id].disturbed for run in self.runs}
        return {id: reason for id, reason in reasons.items() if reason}

    def alone(self, of_time: bool) -> dict[str, State]:
        """The states of all runs, where a run whose time does not count has SHARED or CONTENDED as its status.

        of_time: whether a time is asked for. If not, only the runs with a budget in seconds have that status.
        """
        states = dict(self.states)
        for run in self.runs:
            reason = self.disturbed.get(run.id)
            if reason and (of_time or run.config["budget"].get("seconds")):
                states[run.id] = replace(states[run.id], status=reason)
        return states

    def rows(self, runs: list[Run], kind: str) -> Table:
        """The rows of these runs, of one kind."""
        return self.table.of_kind(kind).of_runs(run.id for run in runs)

    @cached_property
    def frame(self) -> pd.DataFrame:
        """All rows, with the columns that were asked for."""
        return self.table.frame()


def collect(runs: Sequence[Run], root: Path, wanted: Wanted = everything) -> Results:
    """Read the results of the expected runs under `root`; of their rows, the columns that are wanted.

    Runs of the same id are one.
    """
    unique = list({run.id: run for run in runs}.values())
    directories = [os.path.join(root, run.slug) for run in unique]
    run_records = records(directories, wanted)
    environments = {run.id: record.environment for run, record in zip(unique, run_records, strict=True)}
    run_records = _with_costs(unique, root, run_records, environments, wanted)
    judge = Judge()
    states: dict[str, State] = {}
    stale: dict[str, str] = {}
    for run, record in zip(unique, run_records, strict=True):
        states[run.id] = record.state
        then = fingerprint.of(record.environment)
        if then and record.state.status in KEEPS:
            reason = why(then, judge.now(run.config))
            if reason:
                stale[run.id] = reason
    return Results(unique, states, joined(directories, run_records, wanted), environments, stale)


def _with_costs(
    runs: list[Run], root: Path, records: list[Record], environments: dict[str, dict[str, Any]], wanted: Wanted
) -> list[Record]:
    """The records with what is measured of each run's steps and warm start, where it is known. A warning names the
    command for the others, if an axis or a column of cost is wanted by its name."""
    if not wanted(STEP_COST):
        return records
    costs = step_costs.of_runs(runs, root, environments)
    named = [axis for axis in COST_AXES if wanted is not everything and wanted(axis)]
    if named:  # else a panel against time asks for it, and can do without
        needed = frozenset[str]().union(*(MEASURED_FOR[axis] for axis in named))
        known = {id for id, numbers in costs.items() if needed <= numbers.keys()}
        if line := step_costs.missing(runs, known, environments):
            warn(line)
    return [
        replace(record, state=replace(record.state, summary={**record.state.summary, **costs[run.id]}))
        if run.id in costs
        else record
        for run, record in zip(runs, records, strict=True)
    ]


def matches(config: dict[str, Any], where: Mapping[str, object]) -> bool:
    """Whether the configuration has every value of `where`, whose keys are dotted paths (`optimizer.lr`).

    A group is given by its name (`dataset: mnist`), a list by any of its members. A key that the configuration lacks
    does not match.
    """
    return all(_fits(setting(config, key), value) for key, value in where.items())


def _fits(value: object, expected: object) -> bool:
    return value in expected if isinstance(expected, list) else value == expected


def setting(config: dict[str, Any], key: str) -> object:
    """The value at a dotted path of the configuration (of a group: its name); None if there is none."""
    node: object = config
    for part in key.split("."):
        if not isinstance(node, dict) or part not in node:
            return None
        node = node[part]
    return node.get("name") if isinstance(node, dict) else node
