"""The numbers that a report takes from the rows of its runs: single numbers, and columns for curves.

Every number that was taken is kept, so that `sobench.report.records` can write it beside the report. Without the rows,
the numbers are those that were written, and the report can be made again from them alone.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from sobench.errors import Failure
from sobench.results.curves import Series, by_epoch, trailing_mean
from sobench.results.pick import SLACK, column
from sobench.results.row_table import Table

POINTS, EARLY = 300, 50
"""About the largest number of rows of a run that a curve keeps, evenly spaced; and the number of first rows that it
keeps besides, for logarithmic axes. The last row is always kept."""
DIGITS = 8
"""The significant digits of a number in a column."""
MOST_RUNS = 1_000
"""The largest number of runs of a report whose numbers are kept."""

PLACE = "place"
"""The number of a row among those of its run, from 0, or that of an epoch, by which runs are paired."""
AXIS = "x: "
"""The beginning of the name of a column with the places on an axis."""
_SMOOTHED = re.compile(r"(.*), mean of ([\d.e+]+) steps")


@dataclass(frozen=True)
class Number:
    """The name of a number of each run: a metric, the place where it is taken in words, and the kind of rows."""

    metric: str
    at: str
    rows: str


@dataclass(frozen=True)
class Rows:
    """A choice of rows: a kind, and `all` of them, `some` (about POINTS), or a mean for each of the `epochs`."""

    kind: str
    which: str = "some"


Column = tuple[np.ndarray, np.ndarray]
"""The places of the rows of a run that a column keeps, and its values there."""
Take = Callable[[Table], Mapping[str, float]]
"""A function that gives one number of each run of a table, by run id."""


class Numbers:
    """The numbers of the runs of a report: taken from the rows of `table`; of None only those that were written.

    values: by name of the number and run id. columns: by choice of rows, run id and name of the column. asked: the
    columns that were asked for, also those that no run has. uses: the parts of the report that took a number, by its
    name and run id. kept: whether numbers are kept, which they are not for very many runs.
    """

    def __init__(self, table: Table | None, *, runs: int = 0):
        """runs: the number of runs of the report."""
        self.values: dict[Number, dict[str, float]] = {}
        self.columns: dict[Rows, dict[str, dict[str, Column]]] = {}
        self.asked: dict[tuple[Rows, str], None] = {}
        self.uses: dict[tuple[Number, str], dict[str, None]] = {}
        self.kept = runs <= MOST_RUNS
        self._table = table
        self._of_all: dict[Number, Mapping[str, float]] = {}
        self._recorded: dict[tuple[str, str], np.ndarray] = {}
        self._strides: dict[tuple[Rows, str], int] = {}

    def of(self, name: Number, runs: Iterable[str], take: Take, used_by: str) -> dict[str, float]:
        """One number of each of these runs that has it, by run id."""
        if self._table is None:
            if name not in self.values:
                raise _not_written(f"{name.metric} at {name.at}")
            written = self.values[name]
            return {run: written[run] for run in runs if run in written}
        if name not in self._of_all:
            self._of_all[name] = take(self._table)
        of_all, kept = self._of_all[name], self.values.setdefault(name, {})
        found = {run: float(of_all[run]) for run in runs if run in of_all and not math.isnan(of_all[run])}
        if self.kept:
            kept |= found
            for run in found:
                self.uses.setdefault((name, run), {})[used_by] = None
        return found

    def series(self, rows: Rows, x: str, y: str, runs: Iterable[str]) -> dict[str, Series]:
        """The place, x and y of the kept rows of each of these runs, by run id; see `rows`.

        Both x and y are NaN where either is not finite.
        """
        found = {}
        for run, (places, ys, *xs) in self.rows(rows, y, [x] if x != PLACE else [], runs).items():
            (at_x,) = xs or [places]
            ok = np.isfinite(at_x) & np.isfinite(ys)
            found[run] = places, np.where(ok, at_x, np.nan), np.where(ok, ys, np.nan)
        return found

    def by_step(self, kind: str, metric: str, start: Mapping[str, float], runs: Iterable[str]) -> dict[str, pd.Series]:
        """The numbers of a metric in the rows of a kind of each of these runs that has rows, each a series by step.

        start: {axis: x}, the place of the first row. Rows without a number are left out.
        """
        axes, found = list(dict.fromkeys(("step", *start))), {}
        for run, (_, values, *at) in self.rows(Rows(kind, "all"), metric, axes, runs).items():
            position, kept = dict(zip(axes, at, strict=True)), ~np.isnan(values)
            for axis, x in start.items():
                kept &= position[axis] >= x - SLACK * max(1.0, abs(x))
            found[run] = pd.Series(values[kept], index=position["step"][kept].astype(int))
        return found

    def rows(self, rows: Rows, y: str, others: Sequence[str], runs: Iterable[str]) -> dict[str, tuple[np.ndarray, ...]]:
        """The places of the kept rows, y, and the other columns there, of each of these runs that has rows, by run id.

        Kept are the rows with a value of y, and the last row.
        """
        found = {}
        self._ask(rows, y)
        for run in runs:
            kept = self._column(rows, y, run)
            if kept is not None:
                places, values = kept
                found[run] = places, values, *(self._at(rows, other, run, places) for other in others)
        return found

    def names(self, beginning: str, at: str, rows: str) -> list[str]:
        """The names that begin so, of the columns of the rows, or of the written numbers at this place."""
        if self._table is not None:
            return [name for name in self._table.of_kind(rows) if name.startswith(beginning)]
        written = [name.metric for name in self.values if (name.at, name.rows) == (at, rows)]
        return [metric for metric in written if metric.startswith(beginning)]

    def _ask(self, rows: Rows, name: str) -> None:
        """Remember that this column was asked for, which no run may have."""
        if self._table is None and (rows, name) not in self.asked:
            raise _not_written(f"{name} of the {rows.kind} rows ({rows.which})")
        self.asked[rows, name] = None

    def _column(self, rows: Rows, name: str, run: str) -> Column | None:
        """A column of a run; None for a run without such rows."""
        columns = self.columns.setdefault(rows, {}).setdefault(run, {})
        if name not in columns and self._table is not None:
            own = self._table.of_kind(rows.kind).rows_of(run)
            if own is not None:
                columns[name] = self._taken(self._table, rows, name, own)
        return columns.get(name)

    def _at(self, rows: Rows, axis: str, run: str, places: np.ndarray) -> np.ndarray:
        """The values of an axis at the places of a column."""
        columns, name = self.columns[rows][run], f"{AXIS}{axis}"
        if name in columns and np.array_equal(columns[name][0], places):
            return columns[name][1]
        if self._table is not None:
            all_places = np.union1d(columns[name][0], places) if name in columns else places
            of_run = self._numbers(self._table, rows.kind, axis)[self._table.of_kind(rows.kind).rows_of(run)]
            columns[name] = all_places, self._rounded(of_run[all_places.astype(int)])
        if name not in columns:
            raise _not_written(f"{axis} of the {rows.kind} rows ({rows.which})")
        kept, values = columns[name]
        return values[np.searchsorted(kept, places)]

    def _numbers(self, table: Table, kind: str, name: str) -> np.ndarray:
        """A column of all runs, in the rows of a kind."""
        if (kind, name) not in self._recorded:
            self._recorded[kind, name] = column(table.of_kind(kind), name).to_numpy(float)
        return self._recorded[kind, name]

    def _taken(self, table: Table, rows: Rows, name: str, own: np.ndarray) -> Column:
        """The places and values of a column of the run that has these rows of its kind."""
        means = _SMOOTHED.fullmatch(name)
        metric = means[1] if means else name
        of_run = self._numbers(table, rows.kind, metric)[own]
        if rows.which == "epochs":
            places, of_epochs = by_epoch(self._numbers(table, rows.kind, "epoch")[own], of_run)
            return places, self._rounded(of_epochs)
        there = np.flatnonzero(~np.isnan(of_run))
        if rows.which == "some":
            ordinals = np.arange(len(there))
            there = there[(ordinals % self._stride(table, rows, metric) == 0) | (ordinals < EARLY)]
        places = np.union1d(there, len(own) - 1)
        if means:
            ok, steps = np.isfinite(of_run), self._numbers(table, rows.kind, "step")[own]
            of_run[ok] = trailing_mean(steps[ok], of_run[ok], float(means[2]))
        return places.astype(float), self._rounded(of_run[places])

    def _stride(self, table: Table, rows: Rows, metric: str) -> int:
        """Of how many rows with a value one is kept: the same for all runs, so that they stay paired."""
        if (rows, metric) not in self._strides:
            with_value = ~np.isnan(self._numbers(table, rows.kind, metric))
            self._strides[rows, metric] = max(1, -(-table.of_kind(rows.kind).most(with_value) // POINTS))
        return self._strides[rows, metric]

    def _rounded(self, values: np.ndarray) -> np.ndarray:
        return np.array([float(f"{v:.{DIGITS}g}") for v in values.tolist()], dtype=float) if self.kept else values


def smoothed(name: str, steps: float | None) -> str:
    """The name of the column with the mean over the last `steps` steps; without steps the name itself."""
    return f"{name}, mean of {steps:g} steps" if steps else name


def _not_written(what: str) -> Failure:
    return Failure(f"{what} is not among the numbers of the report: its runs must be made again")
