"""The material of a comparison: for each problem and method, when each seed reached the target, and where it ended.

It is made from runs once (`sobench.report.comparison.selection`) and written as comparison.json and outcomes.csv, from
which everything else on the page is made again.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any

import numpy as np

TARGET, EASIER, HARDER = "target", "easier", "harder"
LEVELS = (TARGET, EASIER, HARDER)
SHIFT = 0.02
"""The part of the target by which it is made easier and harder, to see whether the ranks depend on it."""
SCHEME = 1
"""The number of the form of the files. It is raised when older files cannot be read any more."""


@dataclass(frozen=True)
class Entry:
    """One method on one problem. All arrays have an element for each seed.

    runs: the ids of the runs. settings: in words, those of the method. final: the last value of the metric, worse than
    any (an infinity) where the run diverged. ends: by axis, the place where the run ended; NaN of a run that diverged.
    times: by axis and level, the place of the first evaluation that reaches the level; infinite if none does. tuned:
    what is known of the choice of the settings (trials, seeds, edge, ...), empty if nothing is. seconds: the longest
    run. tried: the trials of the tuning, each with its numerical settings and its `score`; none where they are not at
    hand.
    """

    seeds: tuple[int, ...]
    runs: tuple[str, ...]
    settings: str
    final: np.ndarray
    ends: Mapping[str, np.ndarray]
    times: Mapping[tuple[str, str], np.ndarray]
    tuned: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = math.nan
    tried: Sequence[Mapping[str, float | None]] = ()

    @property
    def cell(self) -> str:
        """The hash of the configuration, which the id of a run begins with."""
        return self.runs[0].rpartition("-")[0]

    def on(self, seeds: Sequence[int], values: np.ndarray) -> np.ndarray:
        """Those of the values that belong to these seeds, in their order."""
        if (*seeds,) == self.seeds:
            return values
        place = {seed: i for i, seed in enumerate(self.seeds)}
        return values[[place[seed] for seed in seeds]]


@dataclass(frozen=True)
class Problem:
    """One problem. target: the level of the metric, by TARGET, EASIER and HARDER. target_from: in words, who set it."""

    name: str
    title: str
    metric: str
    better: str
    levels: Mapping[str, float]
    target_from: str
    entries: Mapping[str, Entry]

    @cached_property
    def seeds(self) -> list[int]:
        """The seeds that every method has."""
        return self.shared(*self.entries)

    def shared(self, *methods: str) -> list[int]:
        """The seeds that all of these methods have, ascending."""
        return sorted(set.intersection(*(set(self.entries[method].seeds) for method in methods)))

    def horizon(self, axis: str) -> float:
        """The place on an axis up to which every run came: the end of the shortest one.

        Methods are compared up to there, so that none profits from a larger budget. Runs that diverged do not count:
        they would not have reached the target with more.
        """
        if axis not in self._horizons:
            ends = [entry.ends[axis][np.isfinite(entry.ends[axis])] for entry in self.entries.values()]
            of_methods = (float(of_method.min()) for of_method in ends if len(of_method))
            self._horizons[axis] = min(of_methods, default=math.nan)
        return self._horizons[axis]

    def times(self, axis: str, method: str, level: str = TARGET) -> np.ndarray:
        """The times of the seeds of a method; infinite where the level was not reached up to the horizon."""
        if (axis, method, level) not in self._times:
            times = self.entries[method].times[axis, level]
            self._times[axis, method, level] = np.where(times <= self.horizon(axis) * (1 + 1e-9), times, math.inf)
        return self._times[axis, method, level]

    def paired(self, axis: str, method: str, rival: str, level: str = TARGET) -> tuple[np.ndarray, np.ndarray]:
        """The times of two methods on the seeds that both have."""
        seeds = self.shared(method, rival)
        ours, theirs = (self.entries[name].on(seeds, self.times(axis, name, level)) for name in (method, rival))
        return ours, theirs

    def all_times(self, axis: str, level: str = TARGET) -> np.ndarray:
        """The times of all methods on the seeds that all have [methods, seeds]."""
        return np.array([self.entries[name].on(self.seeds, self.times(axis, name, level)) for name in self.entries])

    @cached_property
    def _horizons(self) -> dict[str, float]:
        return {}

    @cached_property
    def _times(self) -> dict[tuple[str, str, str], np.ndarray]:
        return {}


@dataclass(frozen=True)
class Study:
    """The whole material. axes: those of time. left_out: what was asked for and is not in it, in words."""

    title: str
    command: str
    baseline: str
    methods: tuple[str, ...]
    axes: tuple[str, ...]
    problems: tuple[Problem, ...]
    left_out: tuple[str, ...] = ()
    versions: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def shared(self) -> dict[str, list[str]]:
        """By method, the settings in words that are the same on all problems; none where there is one problem."""
        found = {}
        for method in self.methods if len(self.problems) > 1 else ():
            first, *others = (_each(problem.entries[method].settings) for problem in self.problems)
            found[method] = [words for words in first if all(words in other for other in others)]
        return found

    def own(self, problem: Problem, method: str) -> str:
        """The settings in words that a method does not have on all problems."""
        shared = self.shared.get(method, ())
        return ", ".join(words for words in _each(problem.entries[method].settings) if words not in shared)

    @property
    def rivals(self) -> list[str]:
        """The methods other than the baseline."""
        return [method for method in self.methods if method != self.baseline]


def _each(settings: str) -> list[str]:
    """ "lr 0.1, betas [0.9, 0.999]": each setting."""
    return re.split(r", (?![^\[]*\])", settings)


# Files


def to_json(study: Study) -> str:
    """Everything but the numbers of the runs."""
    problems = [
        {
            **{own.name: getattr(problem, own.name) for own in fields(problem) if own.name != "entries"},
            "entries": {
                method: {
                    "settings": entry.settings,
                    "tuned": dict(entry.tuned),
                    "tried": [dict(trial) for trial in entry.tried],
                    "seconds": _written(entry.seconds),
                }
                for method, entry in problem.entries.items()
            },
        }
        for problem in study.problems
    ]
    text = {key: getattr(study, key) for key in ("title", "command", "baseline", "methods", "axes", "left_out")}
    whole = {"scheme": SCHEME, **text, "problems": problems, "versions": dict(study.versions)}
    return json.dumps(whole, indent=1, default=list) + "\n"


def to_csv(study: Study) -> str:
    """A line for each run: its final value, where it ended, and when it reached each level."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    columns = [f"{axis}_{what}" for axis in study.axes for what in ("end", *LEVELS)]
    writer.writerow(["problem", "method", "seed", "run", "final", *columns])
    for problem in study.problems:
        for method, entry in problem.entries.items():
            for i, (seed, run) in enumerate(zip(entry.seeds, entry.runs, strict=True)):
                numbers = [entry.final[i]]
                for axis in study.axes:
                    numbers += [entry.ends[axis][i], *(entry.times[axis, level][i] for level in LEVELS)]
                writer.writerow([problem.name, method, seed, run, *map(_written, numbers)])
    return file.getvalue()


def _written(value: float) -> str:
    """The number with nine digits, "inf" for one that was not reached, "" for NaN."""
    return "" if math.isnan(value) else f"{value:.9g}"


def read(about: str, outcomes: str) -> Study:
    """The study of the two files. Raises ValueError for files that are none, or of another scheme."""
    try:
        whole = json.loads(about)
        if whole.get("scheme") != SCHEME:
            raise ValueError(f"comparison.json has scheme {whole.get('scheme')!r}, allowed: {SCHEME}")
        rows: dict[tuple[str, str], list[dict[str, str]]] = {}
        for row in csv.DictReader(io.StringIO(outcomes)):
            rows.setdefault((row["problem"], row["method"]), []).append(row)
        axes = tuple(whole["axes"])
        problems = tuple(_problem(problem, axes, rows) for problem in whole["problems"])
        texts = {key: whole[key] for key in ("title", "command", "baseline", "versions")}
        return Study(
            methods=tuple(whole["methods"]), axes=axes, problems=problems, left_out=tuple(whole["left_out"]), **texts
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not the files of a comparison: {error!r}") from error


def _problem(
    about: dict[str, Any], axes: Sequence[str], rows: Mapping[tuple[str, str], list[dict[str, str]]]
) -> Problem:
    entries = {
        method: _entry(entry, axes, rows[about["name"], method]) for method, entry in about.pop("entries").items()
    }
    return Problem(**about, entries=entries)


def _entry(about: Mapping[str, Any], axes: Sequence[str], rows: Sequence[Mapping[str, str]]) -> Entry:
    def column(name: str) -> np.ndarray:
        return np.array([float(row[name] or "nan") for row in rows])

    return Entry(
        tuple(int(row["seed"]) for row in rows),
        tuple(row["run"] for row in rows),
        about["settings"],
        column("final"),
        {axis: column(f"{axis}_end") for axis in axes},
        {(axis, level): column(f"{axis}_{level}") for axis in axes for level in LEVELS},
        about["tuned"],
        float(about["seconds"] or "nan"),
        about["tried"],
    )
