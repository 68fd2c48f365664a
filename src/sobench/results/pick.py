"""The value of a metric in each run: at the end, at its best, at a place, or at a level of another; or all values."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd

from sobench.config.registry import suggestion
from sobench.errors import UsageError
from sobench.results.axes import AXES, COST_AXES, EXTREMES, MEAN_OF_EPOCH, POSITION, At
from sobench.results.record import MEASURED, STEP_COST, SUMMARY

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
    "cost": Derived(("step", STEP_COST), lambda step, cost: step * cost),
    "total_cost": Derived(("step", *MEASURED), lambda step, cost, warm: step * cost + warm),
    "accuracy_gap": Derived(("train_accuracy", "test_accuracy"), lambda train, test: train - test),
    "state_megabytes": Derived(("state_bytes",), lambda size: size / 2**20),
    "state_bytes_over_parameters": Derived(("state_bytes", "parameters"), lambda size, parameters: size / parameters),
}
"""The derived metrics, by name. A run that records no warm start had none."""
MEASURED_FOR = {axis: frozenset(DERIVED[axis].columns) & frozenset(MEASURED) for axis in COST_AXES}
"""What has to be measured for each of COST_AXES, by the names of the columns."""
COSTS = frozenset(
    {"seconds_per_step", "work_per_step", "state_bytes_over_parameters", "state_megabytes", *MEASURED, *SUMMARY}
)
"""The costs, which every run that made steps has, also one that diverged or was cut to a smaller budget."""
EXACT = frozenset({"parameters", "state_bytes", "state_bytes_over_parameters", "state_megabytes"})
"""The counts that do not depend on the seed: one run is enough."""

SETS = ("train", "validation", "test")
EVALUATED = frozenset(f"{of}_{what}" for of in SETS for what in ("loss", "accuracy", "mse", "rmse", "r2"))
"""The metrics of an evaluation."""
HIGHER = ("accuracy", "r2")
"""The ends of the names of the metrics of which higher is better."""

SIZE = re.compile(r"\|(.+)\|")
"""The name of the absolute value of a metric."""

SLACK = 1e-9
"""Relative tolerance of a place on an x-axis."""


def pick(table: Table, metric: str, *, at: At = "last", kind: str = "eval", better: str | None = None) -> pd.Series:
    """The value of `metric` in each run that has rows of this kind, by run id; NaN if none was recorded.

    at: "last"; "best" (the lowest or highest number, as `better` says); {axis: x}, the last row at or before x, NaN for
    a run that did not reach x; {"highest": other} or {"lowest": other}, the first row in which another metric is
    highest or lowest, NaN if that was never recorded; {"mean_of_epoch": n}, the mean of the numbers in the rows of the
    n-th epoch, NaN for a run that did not complete it. An axis or a cost is taken from rows of any kind: all rows have
    it, and a run may diverge before its first evaluation. Raises UsageError for any other `at`.
    """
    key, value = next(iter(at.items())) if isinstance(at, Mapping) and len(at) == 1 else (None, None)
    other = value if key in EXTREMES else key if key in AXES else "epoch" if key == MEAN_OF_EPOCH else metric
    kind_of_rows = None if metric in AXES or metric in COSTS else kind
    rows = _rows(table, kind_of_rows, value=metric, of=str(other)).set_index("run")
    if at == "last":
        return _last(rows)
    if at == "best":
        return _best(rows, metric, better)
    if key in EXTREMES:
        return _where(_column(rows, "value"), _column(rows, "of"), EXTREMES[key])
    if key in AXES and isinstance(value, (int, float)):
        return _last(_until(rows, value))
    if key == MEAN_OF_EPOCH and isinstance(value, (int, float)):
        return _mean_of_epoch(rows, value)
    raise UsageError(
        f"at: got {at!r}, allowed: last, best, {{{', '.join(AXES)}: number}}, {{{', '.join(EXTREMES)}: metric}}, "
        f"{{{MEAN_OF_EPOCH}: number}}"
    )


def better_of(metric: str) -> str:
    """Whether a metric is better when it is "lower" or "higher"."""
    return "higher" if metric.endswith(HIGHER) else "lower"


def check_metric(metric: str, key: str, own: Iterable[str] = ()) -> None:
    """Raises UsageError for a metric that no run without an instrument has.

    key: the setting that names it. own: the names of the metrics of the user's own that the runs have.
    """
    known = {*EVALUATED, *DERIVED, *COSTS, *POSITION, *(f"{of}_{name}" for of in SETS for name in own)}
    if metric not in known:
        raise UsageError(f"{key}: got {metric!r}, {suggestion(metric, known)}")


def _best(rows: pd.DataFrame, metric: str, better: str | None) -> pd.Series:
    """By run, the lowest or highest of the values that are numbers."""
    if better not in ("lower", "higher"):
        raise UsageError(f"at: best needs `better: lower` or `better: higher` for {metric}")
    values = _column(rows, "value").groupby(level=0, observed=True)
    return cast(pd.Series, values.min() if better == "lower" else values.max())


def _until(rows: pd.DataFrame, x: float) -> pd.DataFrame:
    """The rows at or before x, of the runs that reached x."""
    slack = SLACK * max(1.0, abs(x))
    of = _column(rows, "of")
    last = cast(pd.Series, of.groupby(level=0, observed=True).transform("max"))
    return cast(pd.DataFrame, rows[(last >= x - slack) & (of <= x + slack)])


def _mean_of_epoch(rows: pd.DataFrame, number: float) -> pd.Series:
    """By run, the mean of the values that are numbers in the rows of an epoch, of the runs that completed it."""
    own = _until(rows, number)
    before = _column(own, "of") <= number - 1 + SLACK * max(1.0, abs(number))
    values = _column(own, "value").where(~before).groupby(level=0, observed=True)
    return cast(pd.Series, values.mean())


def _where(values: pd.Series, of: pd.Series, extreme: str) -> pd.Series:
    """By run, the value in the row in which `of` is extreme. extreme: the pandas method that finds the row."""
    table = pd.DataFrame({"run": values.index.astype(str), "value": values.to_numpy(), "of": of.to_numpy()})
    places = getattr(table.dropna(subset=["of"]).groupby("run")["of"], extreme)()
    picked = table.loc[places, "value"].set_axis(places.index)
    return picked.reindex(pd.unique(_column(table, "run")))


def reach(
    table: Table,
    metric: str,
    of: str,
    *,
    at_most: float | None = None,
    at_least: float | None = None,
    kind: str = "eval",
) -> pd.Series:
    """The value of `metric` (an axis: the time it took) in the first row of this kind in which `of` reaches a level, by
    run id.

    The level is at_most or at_least. Infinity for a run that did not reach it, NaN for one that did not record `of`.
    The row is the first recorded one at the level: nothing is interpolated between two evaluations.
    """
    rows = _rows(table, kind, value=metric, of=of).set_index("run")
    measured = _column(rows, "of")
    there = measured <= at_most if at_least is None else measured >= at_least
    first = cast(pd.Series, _column(rows, "value")[there])
    first = cast(pd.Series, first[~first.index.duplicated(keep="first")])
    recorded = cast(pd.Series, measured.notna().groupby(level=0, observed=True).any())
    never = pd.Series(float("inf"), index=recorded.index).where(recorded)
    return first.reindex(recorded.index).where(recorded.index.isin(first.index), never)


def first(table: Table, metric: str, kind: str) -> dict[str, float]:
    """The first number of `metric` in the rows of this kind of each run that has one, by run id."""
    rows = _rows(table, kind, value=metric).set_index("run")
    return cast(pd.Series, _column(rows, "value").groupby(level=0, observed=True).first()).to_dict()


def mean_between(table: Table, metric: str, low: float, high: float, kind: str = "eval") -> dict[str, float]:
    """The mean of the numbers of `metric` in the rows of this kind from one epoch to another, of each run that came as
    far, by run id."""
    rows = _rows(table, kind, value=metric, epoch="epoch").set_index("run")
    epochs = _column(rows, "epoch")
    far = cast(pd.Series, epochs.groupby(level=0, observed=True).transform("max")) >= high
    near = cast(pd.DataFrame, rows[far & (epochs >= low) & (epochs <= high)])
    return cast(pd.Series, _column(near, "value").groupby(level=0, observed=True).mean()).to_dict()


def count(table: Table, kind: str, *, without: str | None = None) -> dict[str, float]:
    """The number of rows of this kind of each run, by run id; without: of the rows that have no finite value of it."""
    rows = table.of_kind(kind)
    counted = ~np.isfinite(column(rows, without).to_numpy(float)) if without else np.ones(len(rows), bool)
    total = pd.Series(counted.astype(float), index=rows["run"].to_numpy()).groupby(level=0, observed=True).sum()
    return cast(pd.Series, total).to_dict()


def column(rows: Table | pd.DataFrame, metric: str) -> pd.Series:
    """The metric in each row, recorded or derived; NaN in a row without it. |metric| is its absolute value."""
    if size := SIZE.fullmatch(metric):
        return column(rows, size[1]).abs()
    if metric in rows:
        values = _column(rows, metric)
        return values if values.dtype == float else cast(pd.Series, pd.to_numeric(values, errors="coerce"))
    if metric in DERIVED and all(name in rows for name in DERIVED[metric].columns):
        return DERIVED[metric].of(*(rows[name] for name in DERIVED[metric].columns))
    return pd.Series(float("nan"), index=rows.index)


def _column(rows: Table | pd.DataFrame, name: str) -> pd.Series:
    """A column; the annotations of pandas leave open whether it is a Series."""
    return cast(pd.Series, rows[name])


def _rows(table: Table, kind: str | None, **metrics: str) -> pd.DataFrame:
    """The run and the metrics, by the keywords' names, of the rows of a kind (None: of all).

    The rows of a run follow each other in order of step.
    """
    table = table.of_kind(kind)
    columns = {metric: column(table, metric) for metric in dict.fromkeys(metrics.values())}
    named = {name: columns[metric] for name, metric in metrics.items()}
    rows = pd.DataFrame({"run": table["run"], **named}, copy=False)
    return rows if table.ordered else rows.iloc[np.lexsort((table["step"], table["run"].cat.codes))]


def _last(rows: pd.DataFrame) -> pd.Series:
    """By run, the value in its last row, NaN included (groupby.last() would skip NaN)."""
    values = _column(rows, "value")
    index: Any = rows.index  # a CategoricalIndex
    codes = index.codes
    return values.iloc[np.flatnonzero(np.append(codes[1:] != codes[:-1], len(codes) > 0))]
