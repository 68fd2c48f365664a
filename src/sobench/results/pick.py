"""One number a run: the value of a metric at the end, at its best, at a given place on the x-axis, or when another metric
reaches a level; and all numbers of a run, for what is said of every step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from sobench.errors import UsageError
from sobench.results.axes import AXES, EXTREMES
from sobench.results.record import SUMMARY

if TYPE_CHECKING:
    from sobench.results.row_table import Table


@dataclass(frozen=True)
class Derived:
    """A metric computed from recorded columns."""

    columns: tuple[str, ...]
    of: Callable[..., pd.Series]


DERIVED = {
    "seconds_per_step": Derived(("seconds", "step"), lambda seconds, step: seconds / step.where(step > 0)),
    "work_per_step": Derived(("work", "step"), lambda work, step: work / step.where(step > 0)),
    "train_error": Derived(("train_accuracy",), lambda accuracy: 1 - accuracy),
    "test_error": Derived(("test_accuracy",), lambda accuracy: 1 - accuracy),
    "total_seconds": Derived(("seconds", "warm_start_seconds"), lambda seconds, warm: seconds + warm.fillna(0.0)),
    "accuracy_gap": Derived(("train_accuracy", "test_accuracy"), lambda train, test: train - test),
    "state_megabytes": Derived(("state_bytes",), lambda size: size / 2**20),
    "state_bytes_over_parameters": Derived(("state_bytes", "parameters"), lambda size, parameters: size / parameters),
}
"""By name. A run that records no warm start had none."""
COSTS = frozenset({"seconds_per_step", "work_per_step", "state_bytes_over_parameters", "state_megabytes", *SUMMARY})
"""Costs: of any run that made steps, also one that diverged or was cut to a smaller budget."""
EXACT = frozenset({"parameters", "state_bytes", "state_bytes_over_parameters", "state_megabytes"})
"""Counts that no seed changes: one run tells them."""

At = str | Mapping[str, float | str]


def pick(table: Table, metric: str, *, at: At = "last", kind: str = "eval", better: str | None = None) -> pd.Series:
    """Value of `metric` in each run that has rows of this kind, by run id; NaN where none was recorded. An axis, or a
    cost, is taken from rows of any kind: all carry it, and a run that diverges may do so before it is evaluated.

    at: "last"; "best" (the lowest or highest, as `better` says, of those that are numbers); {axis: x}, the last row at or
    before x, NaN for a run that never came as far; {"highest": other}, {"lowest": other}, the first row in which another
    metric is highest or lowest, NaN where that was never recorded. Raises UsageError on an `at` that is none of these.
    """
    other = next(iter(at.items())) if isinstance(at, Mapping) and len(at) == 1 else (None, None)
    of = other[1] if other[0] in EXTREMES else other[0] if other[0] in AXES else metric
    rows = _rows(table, None if metric in AXES or metric in COSTS else kind, value=metric, of=of).set_index("run")
    if at == "last":
        return _last(rows)
    if at == "best":
        if better not in ("lower", "higher"):
            raise UsageError(f"at: best needs `better: lower` or `better: higher` for {metric}")
        best = rows["value"].groupby(level=0, observed=True)
        return best.min() if better == "lower" else best.max()
    if other[0] in EXTREMES:
        return _where(rows["value"], rows["of"], EXTREMES[other[0]])
    if other[0] in AXES:
        x = other[1]
        slack = 1e-9 * max(1.0, abs(x))
        reached = rows["of"].groupby(level=0, observed=True).transform("max") >= x - slack
        return _last(rows[reached & (rows["of"] <= x + slack)])
    raise UsageError(
        f"at: {at!r} is not one of last, best, {{{', '.join(AXES)}: number}}, {{{', '.join(EXTREMES)}: metric}}"
    )


def _where(values: pd.Series, of: pd.Series, extreme: str) -> pd.Series:
    """By run, the value in the row in which `of` is extreme."""
    table = pd.DataFrame({"run": values.index.astype(str), "value": values.to_numpy(), "of": of.to_numpy()})
    places = getattr(table.dropna(subset="of").groupby("run")["of"], extreme)()
    return table.loc[places, "value"].set_axis(places.index).reindex(pd.unique(table["run"]))


def reach(
    table: Table,
    metric: str,
    of: str,
    *,
    at_most: float | None = None,
    at_least: float | None = None,
    kind: str = "eval",
) -> pd.Series:
    """Value of `metric` (an axis: how long it took) in the first row of this kind in which `of` is at_most, or at_least,
    a level; by run id. Infinity for a run that never came there, NaN for one that has not recorded `of`.

    The row is the first that was recorded at the level: between two evaluations nothing is interpolated.
    """
    rows = _rows(table, kind, value=metric, of=of).set_index("run")
    there = rows["of"] <= at_most if at_least is None else rows["of"] >= at_least
    first = rows[there]["value"]
    first = first[~first.index.duplicated(keep="first")]
    recorded = rows["of"].notna().groupby(level=0, observed=True).any()
    never = pd.Series(float("inf"), index=recorded.index).where(recorded)
    return first.reindex(recorded.index).where(recorded.index.isin(first.index), never)


def series(
    table: Table, metric: str, *, kind: str = "train", start: Mapping[str, float] | None = None
) -> dict[str, pd.Series]:
    """Every recorded value of `metric` in the rows of this kind, by run id: a series by step, from `start` ({axis: x}) on.
    Rows without a value (NaN) are left out; a run without any has an empty series."""
    axes = start or {}
    rows = _rows(table, kind, step="step", value=metric, **{f"at {axis}": axis for axis in axes})
    for axis, x in axes.items():
        rows = rows[rows[f"at {axis}"] >= x - 1e-9 * max(1.0, abs(x))]
    return {run: group.set_index("step")["value"].dropna() for run, group in rows.groupby("run", observed=True)}


def column(rows: Table | pd.DataFrame, metric: str) -> pd.Series:
    """The metric in each row, recorded or derived; NaN where nobody recorded it."""
    if metric in rows:
        return pd.to_numeric(rows[metric], errors="coerce")
    if metric in DERIVED and all(name in rows for name in DERIVED[metric].columns):
        return DERIVED[metric].of(*(rows[name] for name in DERIVED[metric].columns))
    return pd.Series(float("nan"), index=rows.index)


def _rows(table: Table, kind: str | None, **metrics: str) -> pd.DataFrame:
    """run and these metrics, by the names they are to have, of the rows of a kind (None: of all); a run's rows follow each other
    in order of step."""
    table = table.of_kind(kind)
    taken = {metric: column(table, metric) for metric in dict.fromkeys(metrics.values())}
    rows = pd.DataFrame({"run": table["run"], **{name: taken[metric] for name, metric in metrics.items()}}, copy=False)
    return rows if table.ordered else rows.iloc[np.lexsort((table["step"], rows["run"].cat.codes))]


def _last(rows: pd.DataFrame) -> pd.Series:
    # not groupby.last(): that skips NaN, and would give a broken run its last good value
    values, codes = rows["value"], rows.index.codes
    return values.iloc[np.flatnonzero(np.append(codes[1:] != codes[:-1], len(codes) > 0))]
