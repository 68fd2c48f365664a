"""Suites: problems on which optimizers are compared, one YAML file each in conf/suite/. No torch.

    title: Three problems on the digits
    settings: [budget=cpu]                                for all problems
    problems:
      digits-mlp: {experiment: suite/digits-mlp, metric: validation_loss, target: 0.12}

A problem is an experiment, whose cells have the settings of each optimizer, and whose `tune` says how they were chosen.
`settings` of a problem are added to those of the suite. `metric` and `target` say when a run has solved the problem;
the target may be left out, then the result of a method is the target. An optimizer without a cell has its own defaults.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sobench.config import files, grid, tuning
from sobench.config.registry import suggestion
from sobench.errors import UsageError

KEYS = {"title", "settings", "problems"}
PROBLEM_KEYS = {"experiment", "settings", "metric", "target"}


@dataclass(frozen=True)
class SuiteProblem:
    """One problem of a suite."""

    name: str
    experiment: str
    settings: tuple[str, ...]
    metric: str | None
    target: float | None

    def jobs(self, optimizers: Sequence[str], seeds: Sequence[int]) -> list[list[str]]:
        """The overrides of each run: every optimizer, with its tuned settings, and every seed.

        Of several cells with an optimizer the first is taken. Raises UsageError for an experiment that does not exist,
        and for a seed on which it was tuned.
        """
        before = [f"experiment={self.experiment}", *self.settings]
        sweeper = grid.sweeper(before)
        if shared := sorted({*seeds} & {*((sweeper["tune"] or {}).get("seeds") or ())}):
            raise UsageError(f"seed: got {shared[0]}, on which {self.experiment} is tuned; allowed: other seeds")
        cells = [_first_cell(sweeper["cells"], name) for name in optimizers]
        if sweeper["tuned"]:
            cells = tuning.chosen(cells, sweeper["tuned"])
        return [[*before, *cell, f"seed={seed}"] for cell in cells for seed in seeds]


def _first_cell(cells: Sequence[list[str]], optimizer: str) -> list[str]:
    """The settings of an optimizer: those of the first cell with it, or its own defaults."""
    choice = f"optimizer={optimizer}"
    return next((cell for cell in cells if choice in cell), [choice])


@dataclass(frozen=True)
class Suite:
    name: str
    title: str
    problems: tuple[SuiteProblem, ...]


def read(name: str) -> Suite:
    """The suite of this name. Raises UsageError for one that does not exist or has an error."""
    file = files.find(f"suite/{name}") if name in files.members("suite") else None
    if file is None:
        raise UsageError(f"--suite: got {name!r}, {suggestion(name, files.members('suite'))}")
    where = f"{file.name} of conf/suite"
    whole = _contents(file, where)
    _check_keys(where, whole, KEYS)
    problems = whole.get("problems")
    if not isinstance(problems, Mapping) or not problems:
        raise UsageError(f"{where}: problems: allowed: a mapping of names to experiments, with one at least")
    common = _settings(where, whole)
    return Suite(
        name,
        str(whole.get("title") or name),
        tuple(_problem(f"{where}: problems.{own}", own, about, common) for own, about in problems.items()),
    )


def _contents(file: Path, where: str) -> dict[str, Any]:
    import yaml

    try:
        return files.read(file)
    except yaml.YAMLError as error:
        raise UsageError(f"{where}: no YAML: {' '.join(str(error).split())}") from error


def _problem(where: str, name: str, about: Any, common: tuple[str, ...]) -> SuiteProblem:
    if not isinstance(about, Mapping):
        raise UsageError(f"{where}: allowed: {{experiment: NAME, metric: NAME, target: number}}")
    _check_keys(where, about, PROBLEM_KEYS)
    experiment, target = about.get("experiment"), about.get("target")
    known = files.members("experiment")
    if experiment not in known:
        raise UsageError(f"{where}.experiment: got {experiment!r}, {suggestion(experiment, known, _LISTING)}")
    if target is not None and (not isinstance(target, (int, float)) or isinstance(target, bool)):
        raise UsageError(f"{where}.target: got {target!r}, allowed: a number")
    metric = about.get("metric")
    if target is not None and not metric:
        raise UsageError(f"{where}: a target without a metric; allowed: both, or no target")
    return SuiteProblem(name, experiment, common + _settings(where, about), metric, target)


_LISTING = "sobench list experiments"


def _settings(where: str, node: Mapping[str, Any]) -> tuple[str, ...]:
    settings = node.get("settings", [])
    if not isinstance(settings, list) or not all(isinstance(setting, str) and "=" in setting for setting in settings):
        raise UsageError(f"{where}.settings: got {settings!r}, allowed: a list of settings KEY=VALUE")
    return tuple(settings)


def _check_keys(where: str, node: Mapping[str, Any], allowed: set[str]) -> None:
    for key in node:
        if key not in allowed:
            raise UsageError(f"{where}: got the key {key!r}, {suggestion(key, allowed)}")
