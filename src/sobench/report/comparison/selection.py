"""From runs to the material of a comparison: which runs are which method, on which problem, to which target.

A method is an optimizer with everything about it that is not a number: `kfac` and `kfac (sharing reduce)` are two. Of a
method with several settings on a problem, one is compared. It must have been chosen on seeds of its own, as `sobench
tune` does; a choice on the seeds that are compared favours the method with more settings, and is refused.
"""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sobench.config.by_path import short_names
from sobench.config.files import members
from sobench.config.registry import suggestion
from sobench.errors import UsageError
from sobench.report.comparison.study import EASIER, HARDER, SHIFT, TARGET, Entry, Problem, Study
from sobench.report.origins import origins
from sobench.report.settings import short, value_text
from sobench.report.tune_pages import TRIALS
from sobench.results import step_costs
from sobench.results.axes import COST_AXES, is_time
from sobench.results.pick import DERIVED, MEASURED_FOR, better_of, column
from sobench.results.state import KEEPS
from sobench.results.trials import is_number
from sobench.system.text import format_ranges, plural

if TYPE_CHECKING:
    from sobench.config.run import Run
    from sobench.results.collection import Results

METRICS = ("validation_loss", "train_loss")
"""The metric of a target, the first that all runs of a problem recorded. The test set is for reports alone."""
DEFAULT_BASELINES = ("adamw", "sgd", "adam")
AXES = ("step", "epoch", "work", *COST_AXES, "seconds", "total_seconds")


@dataclass(frozen=True)
class Task:
    """A problem that is asked for, with its runs. metric and target: those of a suite, or None."""

    name: str
    title: str
    runs: Sequence[Run]
    metric: str | None = None
    target: float | None = None


@dataclass(frozen=True)
class Options:
    """What the user asked for; None where nothing was said. target: a method whose result is the target.

    tuning_seeds: those on which the setting of a method is chosen, and which are not compared. measure: the
    command that measures the cost of each configuration's step, without the settings of the machine.
    """

    baseline: str | None = None
    target: str | None = None
    axes: tuple[str, ...] | None = None
    metric: str | None = None
    methods: tuple[str, ...] = ()
    tuning_seeds: frozenset[int] = frozenset()
    measure: str | None = None


@dataclass(frozen=True)
class _Setting:
    """What holds for all problems of a comparison. about: by cell, where its settings come from."""

    methods: tuple[str, ...]
    baseline: str
    axes: tuple[str, ...]
    about: Mapping[str, Mapping[str, Any]]


@dataclass
class _Candidate:
    """A method on a problem. trials: of settings that are not compared, each with its runs."""

    runs: list[Run]
    trials: list[list[Run]] = field(default_factory=list)


def study(title: str, command: str, results: Results, tasks: Sequence[Task], options: Options) -> Study:
    """The material of the comparison of all methods on all problems.

    Raises UsageError where there is nothing to compare, where a method has several settings on the compared seeds or
    was tuned on them, for stale runs, for a method or axis that does not exist, and for times that other work
    disturbed.
    """
    variants = _variants(tasks)
    records = {task.name: _Record(task, results, options) for task in tasks if _finished(task, results)}
    by_problem = {task.name: _candidates(task, records, results, variants, options) for task in tasks}
    methods = _methods(by_problem, options)
    tasks, left_out = _complete(tasks, by_problem, methods)
    compared = [run for task in tasks for method in methods for run in by_problem[task.name][method].runs]
    _check_fresh(compared, results)
    axes = _axes(compared, results, options)
    setting = _Setting(methods, _baseline(methods, options.baseline), axes, _about(compared))
    problems = tuple(_problem(task, records[task.name], by_problem[task.name], setting, options) for task in tasks)
    versions = _versions(compared, results)
    return Study(title, command, setting.baseline, methods, axes, problems, tuple(left_out), versions=versions)


def _finished(task: Task, results: Results) -> list[Run]:
    return [run for run in task.runs if results.states[run.id].status in KEEPS]


# Methods


def _variants(tasks: Sequence[Task]) -> set[str]:
    """The settings of optimizers that are not numbers and differ among the runs of an optimizer on a problem."""
    found = set()
    for task in tasks:
        values: dict[tuple[str, str], Any] = {}
        for run in {run.cell: run for run in task.runs}.values():
            for key, value in run.settings.items():
                if key.startswith("optimizer.") and not is_number(value):
                    first = values.setdefault((run.label("optimizer"), key), value)
                    if first != value and not (is_number(first) or None in (first, value)):
                        found.add(key)
    return found


def _candidates(
    task: Task, records: Mapping[str, _Record], results: Results, variants: set[str], options: Options
) -> dict[str, _Candidate]:
    """The methods that have a finished run on a problem, by label."""
    labels = short_names(dict.fromkeys(run.label("optimizer") for run in task.runs))
    by_method: dict[str, dict[str, list[Run]]] = {}
    for run in _finished(task, results):
        own = {key: run.settings[key] for key in sorted(variants) if key in run.settings}
        texts = ", ".join(f"{short(key)} {value_text(value)}" for key, value in own.items())
        label = labels[run.label("optimizer")] + (f" ({texts})" if texts else "")
        by_method.setdefault(label, {}).setdefault(run.cell, []).append(run)
    return {
        method: _chosen_on(options.tuning_seeds, task, method, list(cells.values()), records[task.name])
        if options.tuning_seeds
        else _chosen(task, method, list(cells.values()))
        for method, cells in by_method.items()
    }


def _chosen(task: Task, method: str, cells: list[list[Run]]) -> _Candidate:
    """The runs of the setting of a method that is compared; of several, the one that was chosen on other seeds."""
    if len(cells) == 1:
        return _Candidate(cells[0])
    count = Counter(run.seed for runs in cells for run in runs)
    own = [[run for run in runs if count[run.seed] == 1] for runs in cells]
    with_own = [place for place, runs in enumerate(own) if runs]
    if len(with_own) == 1:
        place = with_own[0]
        return _Candidate(own[place], cells)
    shared = format_ranges(seed for seed, times in count.items() if times > 1)
    raise UsageError(
        f"compare: {method} has {len(cells)} settings on {task.name}, with the same seeds ({shared}). The best of "
        "them would be chosen on the seeds that are compared. Allowed: settings that select one, as "
        "optimizer.lr=0.1; or --tuning-seeds 0, which chooses on seed 0 and compares the others"
    )


def _chosen_on(seeds: frozenset[int], task: Task, method: str, cells: list[list[Run]], record: _Record) -> _Candidate:
    """The setting with the best score on the tuning seeds, without these seeds."""
    scores = []
    for runs in cells:
        tuning = [run for run in runs if run.seed in seeds]
        scores.append(float(record.best[record.of(tuning)].mean()) if len(tuning) == len(seeds) else math.inf)
    best = int(np.argmin(scores))
    rest = [run for run in cells[best] if run.seed not in seeds]
    if math.isinf(scores[best]) or not rest:
        raise UsageError(
            f"--tuning-seeds: got {format_ranges(seeds)}; no setting of {method} on {task.name} finished with these "
            "seeds and has another one to compare; allowed: a part of the seeds that were run"
        )
    return _Candidate(rest, cells)


def _methods(by_problem: Mapping[str, Mapping[str, _Candidate]], options: Options) -> tuple[str, ...]:
    """The labels of the methods that are compared, in their order."""
    found = list(dict.fromkeys(method for candidates in by_problem.values() for method in candidates))
    for name in options.methods:
        if name not in found:
            got = f"compare: got {name!r}, which has no finished run (--run makes them)"
            raise UsageError(f"{got}; {suggestion(name, found)}")
    methods = options.methods or tuple(found)
    if len(methods) < 2:
        raise UsageError(
            f"compare: {', '.join(methods) or 'no method'} has finished runs; allowed: two methods at least"
        )
    return tuple(methods)


def _complete(
    tasks: Sequence[Task], by_problem: Mapping[str, Mapping[str, _Candidate]], methods: Sequence[str]
) -> tuple[list[Task], list[str]]:
    """The problems that every method has, and a line about each other one. Raises UsageError if none is left."""
    kept, left_out = [], []
    for task in tasks:
        missing = [method for method in methods if method not in by_problem[task.name]]
        if missing:
            left_out.append(f"{task.name}: no finished run of {', '.join(missing)}")
        else:
            kept.append(task)
    if not kept:
        raise UsageError(
            f"compare: no problem on which all of {', '.join(methods)} have a finished run ({'; '.join(left_out)})"
        )
    return kept, left_out


def _baseline(methods: Sequence[str], asked: str | None) -> str:
    if asked is not None and asked not in methods:
        raise UsageError(f"--baseline: got {asked!r}, {suggestion(asked, methods)}")
    return asked or next((name for name in DEFAULT_BASELINES if name in methods), methods[0])


def _check_fresh(runs: Sequence[Run], results: Results) -> None:
    stale = [run for run in runs if run.id in results.stale]
    if stale:
        raise UsageError(
            f"compare: {plural(len(stale), 'run')} of {len(runs)} stale ({results.stale[stale[0].id]}); "
            "`sobench retry --stale` makes them again"
        )


# Axes


def _axes(runs: Sequence[Run], results: Results, options: Options) -> tuple[str, ...]:
    """The axes that are asked for; by default steps, work, and cost, or else time if no run was disturbed: both
    with the warm start."""
    for axis in options.axes or ():
        if axis not in AXES:
            raise UsageError(f"--axis: got {axis!r}, {suggestion(axis, AXES)}")
        if reason := _unusable(axis, runs, results, options):
            raise UsageError(f"--axis: got {axis}: {reason}")
    if options.axes:
        return options.axes
    of_time = [axis for axis in ("total_cost", "total_seconds") if not _unusable(axis, runs, results, options)]
    return ("step", "work", *of_time[:1])


def _unusable(axis: str, runs: Sequence[Run], results: Results, options: Options) -> str | None:
    """Why methods cannot be compared on this axis; None if they can."""
    if axis in COST_AXES:
        lacking = [run for run in runs if not MEASURED_FOR[axis] <= results.states[run.id].summary.keys()]
        return _unmeasured(lacking, results, options) if lacking else None
    disturbed = [run for run in runs if run.id in results.disturbed] if is_time(axis) else []
    if disturbed:
        counts = Counter(results.disturbed[run.id] for run in disturbed)
        texts = ", ".join(f"{count} {reason}" for reason, count in counts.items())
        return f"other work disturbed {plural(len(disturbed), 'run')} ({texts}); allowed: work, total_cost"
    return None


def _unmeasured(lacking: Sequence[Run], results: Results, options: Options) -> str:
    """Of which configurations the cost is not measured, and the command that measures them."""
    first = lacking[0]
    made = results.environments.get(first.id, {})
    cells = plural(len({run.cell for run in lacking}), "configuration")
    measure = options.measure or f"sobench bench cells {first.config.get('experiment') or 'EXPERIMENT'}"
    if not made.get("device_name"):
        return f"the cost of {cells} is not measured; to measure: {measure}"
    command = " ".join([measure, *step_costs.place_of(first, made)])
    return f"the cost of {cells} is not measured on {step_costs.machine(made)}; to measure there: {command}"


# Problems


def _problem(
    task: Task, record: _Record, candidates: Mapping[str, _Candidate], setting: _Setting, options: Options
) -> Problem:
    metric, better, target, whose = record.metric, record.better, task.target, "set by the suite"
    if options.target or target is None:
        setter = options.target or setting.baseline
        if setter not in setting.methods:
            raise UsageError(f"--target: got {setter!r}, {suggestion(setter, setting.methods)}")
        bests = record.sign * record.best[record.of(candidates[setter].runs)]
        target = float(np.median(bests))
        whose = f"the median over {plural(len(bests), 'seed')} of the best value of {setter}"
    if not math.isfinite(target):
        raise UsageError(f"--target: {metric} on {task.name}, {whose}, is not finite; allowed: another --target")
    easier = SHIFT * abs(target) * record.sign
    levels = {TARGET: target, EASIER: target + easier, HARDER: target - easier}
    outcomes = record.ends(setting.axes), record.times(setting.axes, levels)
    entries = {
        method: _entry(task, method, candidates[method], record, outcomes, setting) for method in setting.methods
    }
    return Problem(task.name, task.title, metric, better, levels, whose, entries)


def _entry(
    task: Task,
    method: str,
    candidate: _Candidate,
    record: _Record,
    outcomes: tuple[Mapping[str, np.ndarray], Mapping[tuple[str, str], np.ndarray]],
    setting: _Setting,
) -> Entry:
    runs = sorted(candidate.runs, key=lambda run: run.seed)
    tuned = dict(setting.about[runs[0].cell].get("tuned", {}))
    if shared := {run.seed for run in runs} & {*tuned.get("seeds", ())}:
        raise UsageError(
            f"compare: {method} on {task.name} was tuned on seed {format_ranges(shared)}, which is compared; allowed: "
            "other seeds, as seed=0,1,2"
        )
    if candidate.trials and not tuned:
        tuned = {"trials": len(candidate.trials), "metric": record.metric}
    of, (ends, times) = record.of(runs), outcomes
    return Entry(
        tuple(run.seed for run in runs),
        tuple(run.id for run in runs),
        _in_words(runs[0]),
        record.sign * record.last[of],
        {axis: values[of] for axis, values in ends.items()},
        {place: values[of] for place, values in times.items()},
        tuned,
        max(record.states[run.id].total_seconds for run in runs),
        _tried(runs[0], candidate, record, tuned.get("trials")),
    )


def _tried(run: Run, candidate: _Candidate, record: _Record, count: int | None) -> list[dict[str, float | None]]:
    """The trials of a method's tuning: of the runs at hand, else those that `sobench tune` wrote, if it did.

    count: the number of trials of the choice, which tells its trials from those of other searches.
    """
    if candidate.trials:
        own = {run.seed for run in candidate.runs}
        cells = [[trial for trial in runs if trial.seed not in own] for runs in candidate.trials]
        scores = [float(record.best[record.of(runs)].mean()) if runs else math.nan for runs in cells]
        return [
            {**_numbers(runs[0].settings), "score": score if math.isfinite(score) else None}
            for runs, score in zip(candidate.trials, scores, strict=True)
        ]
    folder = Path(str(run.config.get("reports")), str(run.config.get("experiment")), "tune")
    found = []
    for file in sorted(folder.glob(f"{run.config['budget']['name']}*/{TRIALS}")):
        with file.open(encoding="utf-8", newline="") as lines:
            found.append([_numbers(row) for row in csv.DictReader(lines) if _is_of(run, row["cell"])])
    found = [rows for rows in found if rows]
    return next((rows for rows in found if len(rows) == count), found[0] if found else [])


def _is_of(run: Run, cell: str) -> bool:
    """Whether a trial's cell, in words, is that of a run: "kfac", "kfac optimizer.sharing=reduce", "usps mlp kfac"."""
    values = {setting.partition("=")[2] for setting in run.overrides}
    return run.label("optimizer") in cell.split() and {*cell.split()} <= {*run.overrides, *values}


def _numbers(settings: Mapping[str, Any]) -> dict[str, float | None]:
    """The numerical settings of an optimizer, and the score."""
    found: dict[str, float | None] = {}
    for key, value in settings.items():
        if key.startswith("optimizer.") or key == "score":
            with suppress(TypeError, ValueError):
                found[key] = None if value in ("", None) or isinstance(value, bool) else float(value)
    return found


def _in_words(run: Run) -> str:
    """ "lr 0.1, momentum 0.9": the settings of the optimizer, and the schedule if there is one."""
    own = {
        key: value for key, value in run.settings.items() if key.startswith("optimizer.") and key != "optimizer.name"
    }
    schedule = {"schedule": run.label("schedule")} if run.label("schedule") != "constant" else {}
    return ", ".join(f"{short(key)} {value_text(value)}" for key, value in {**own, **schedule}.items())


def _about(runs: Sequence[Run]) -> dict[str, dict[str, Any]]:
    """By cell, where its settings come from, see `sobench.report.origins`."""
    by_experiment: dict[str | None, list[Run]] = {}
    for run in runs:
        by_experiment.setdefault(run.config.get("experiment"), []).append(run)
    found: dict[str, dict[str, Any]] = {}
    for experiment, own in by_experiment.items():
        found |= origins(own, experiment if experiment in members("experiment") else None, ())
    return found


def _versions(runs: Sequence[Run], results: Results) -> dict[str, Any]:
    """The commits, versions and devices with which the runs were made, each with the number of runs."""
    made = [results.environments.get(run.id, {}) for run in runs]
    return {
        key: dict(sorted(Counter(str(environment.get(key) or "unknown") for environment in made).items()))
        for key in ("commit", "torch", "device_name")
    }


class _Record:
    """The evaluations of the finished runs of a problem: the values of the metric, and the places on the axes.

    Every array has an element for each of these runs [runs]; those of evaluations are [runs, evaluations], NaN beyond
    the last of a run. Values have the sign in which lower is better. Raises UsageError if no run recorded the metric.
    """

    def __init__(self, task: Task, results: Results, options: Options):
        runs = _finished(task, results)
        self.states = results.states
        self._table = results.rows(runs, "eval")
        self.metric = self._metric_of(task, options)
        self.better = better_of(self.metric)
        self.sign = -1.0 if self.better == "higher" else 1.0
        self._place = {run.id: place for place, run in enumerate(runs)}
        self._rows = self._table.rows_by_run(self._place)
        self._values = self.sign * self._by_run(self.metric)
        self._diverged = np.array([self.states[run.id].status == "diverged" for run in runs])
        self._axes: dict[str, np.ndarray] = {}

    def of(self, runs: Sequence[Run]) -> np.ndarray:
        """The places of these runs in every array [runs]."""
        return np.array([self._place[run.id] for run in runs], dtype=int)

    @cached_property
    def last(self) -> np.ndarray:
        """The last value of each run; infinite for one that diverged, or has none."""
        values = _last(self._values)
        return np.where(self._diverged | np.isnan(values), math.inf, values)

    @cached_property
    def best(self) -> np.ndarray:
        """The lowest value of each run; infinite where there is none."""
        return np.where(np.isnan(self._values), math.inf, self._values).min(axis=1, initial=math.inf)

    def ends(self, axes: Sequence[str]) -> dict[str, np.ndarray]:
        """By axis, the place of the last evaluation of each run; NaN of a run that diverged, or has none."""
        return {axis: np.where(self._diverged, math.nan, _last(self._axis(axis))) for axis in axes}

    def times(self, axes: Sequence[str], levels: Mapping[str, float]) -> dict[tuple[str, str], np.ndarray]:
        """By axis and level, the place of the first evaluation of each run that is at least as good as the level;
        infinite if there is none.
        """
        found = {}
        for name, level in levels.items():
            there = self._values <= self.sign * level  # not where the value is NaN
            for axis in axes:
                found[axis, name] = np.where(there.any(axis=1), _first(self._axis(axis), there), math.inf)
        return found

    def _axis(self, axis: str) -> np.ndarray:
        if axis not in self._axes:
            self._axes[axis] = self._by_run(axis)
        return self._axes[axis]

    def _by_run(self, name: str) -> np.ndarray:
        """A column by run and evaluation; NaN beyond the last of a run."""
        values = np.append(column(self._table, name).to_numpy(dtype=float), math.nan)
        return values[self._rows]

    def _metric_of(self, task: Task, options: Options) -> str:
        asked = options.metric or task.metric
        for metric in [asked] if asked else METRICS:
            if metric in {*self._table, *DERIVED} and column(self._table, metric).notna().any():
                return metric
        recorded = [name for name in self._table if name.startswith(("train_", "validation_", "test_"))]
        raise UsageError(
            f"--metric: got {asked or ' and '.join(METRICS)}, which no run of {task.name} recorded; "
            f"{suggestion(asked, recorded)}"
        )


def _first(values: np.ndarray, there: np.ndarray) -> np.ndarray:
    """The value of each row [rows] at its first place that is marked [rows, places]; any value where none is."""
    if not there.shape[1]:
        return np.full(len(there), math.nan)
    return np.take_along_axis(values, there.argmax(axis=1)[:, None], axis=1)[:, 0]


def _last(values: np.ndarray) -> np.ndarray:
    """The last number of each row [rows]; NaN of a row without one."""
    backwards = values[:, ::-1]
    return _first(backwards, ~np.isnan(backwards))
