"""Values over runs of several configurations: grids of aggregates, growth with a setting, robustness."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from sobench.errors import UsageError
from sobench.report.evidence import Evidence, OverSettings, Wanted
from sobench.report.schema.spec import Column, Test
from sobench.results.aggregate import Aggregate
from sobench.results.collection import setting
from sobench.results.growth import Growth, growth
from sobench.results.state import KEEPS
from sobench.results.trials import Search, Trial

if TYPE_CHECKING:
    from sobench.config.run import Run


def grid(
    evidence: Evidence, wanted: Wanted, metric: str, method: str, keys: tuple[str, ...]
) -> dict[tuple[float, ...], Aggregate]:
    """The aggregate of each configuration of a method, by its values of the settings `keys`, in ascending order.

    A setting that is a list (model.widths) counts as its largest entry. Raises UsageError if a setting is not a
    positive number, or if two configurations have the same values.
    """
    places: dict[tuple[float, ...], list[Run]] = {}
    for run in evidence.fitting(method, wanted.where):
        places.setdefault(tuple(_size(evidence, run, key) for key in keys), []).append(run)
    for place, runs in places.items():
        if len(cells := {run.cell for run in runs}) > 1:
            at = ", ".join(f"{key} {size:g}" for key, size in zip(keys, place, strict=True))
            raise UsageError(
                f"{evidence.report.file}: methods.{method}.where: fits {len(cells)} configurations of "
                f"{evidence.report.runs_of} with {at}; add the keys in which they differ"
            )
    return {place: evidence.aggregate(wanted, metric, method, runs) for place, runs in sorted(places.items())}


def exponent(evidence: Evidence, wanted: Column | Test, metric: str, method: str) -> Growth:
    """The exponent with which the metric grows with the setting `wanted.growth`."""
    assert wanted.growth is not None
    sizes = grid(evidence, wanted, metric, method, (wanted.growth,))
    return growth({size: aggregate for (size,), aggregate in sizes.items()})


def robustness(evidence: Evidence, test: Test, metric: str, method: str) -> dict[int, float]:
    """By seed, the share of the configurations whose metric is within `times` of the best one's (a ratio).

    A configuration that diverged, or ended at a value that is not finite, is not within. A seed that lacks a
    configuration is left out.
    """
    worst = math.inf if test.better == "lower" else -math.inf
    values, states = evidence.values(test, metric, method), evidence.states(test, metric)
    seeds: dict[int, list[float]] = {}
    for run in evidence.fitting(method, test.where):
        status, value = states[run.id].status, values.get(run.id, math.nan)
        value = worst if status == "diverged" or math.isinf(value) else value
        seeds.setdefault(run.seed, []).append(value if status in KEEPS else math.nan)
    return {seed: _within(values, test) for seed, values in seeds.items() if not any(map(math.isnan, values))}


def tried(evidence: Evidence, wanted: OverSettings, method: str) -> Search:
    """The configurations of a method that differ in the settings `wanted.keys`, each with its values of the metric."""
    grid: dict[str, list[Any]] = {key: [] for key in wanted.keys}
    by_cell: dict[str, list[Run]] = {}
    for run in evidence.fitting(method, wanted.where, wanted.keys):
        by_cell.setdefault(run.cell, []).append(run)
    trials = []
    for runs in by_cell.values():
        values = {key: setting(runs[0].config, key) for key in wanted.keys}
        trials.append(Trial(values, evidence.aggregate(wanted, wanted.metric, method, runs)))
        for key, value in values.items():
            if value not in grid[key]:
                grid[key].append(value)
    return Search((method,), grid, trials, wanted.better)


def _within(values: list[float], test: Test) -> float:
    assert test.times is not None  # see schema.references
    best = min(values) if test.better == "lower" else max(values)
    if math.isinf(best):  # all diverged
        return 0.0
    near = [value <= best * test.times if test.better == "lower" else value >= best / test.times for value in values]
    return sum(near) / len(values)


def _size(evidence: Evidence, run: Run, key: str) -> float:
    """The value of a setting, as a number."""
    value = setting(run.config, key)
    numbers: list[Any] = value if isinstance(value, list) and value else [value]
    if any(isinstance(n, bool) or not isinstance(n, (int, float)) or n <= 0 for n in numbers):
        raise UsageError(
            f"{evidence.report.file}: {key} of {evidence.report.runs_of}: got {value!r} "
            f"({run.config['optimizer']['name']}), allowed: a number above 0"
        )
    return float(max(numbers))
