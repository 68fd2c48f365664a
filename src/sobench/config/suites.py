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

    def jobs(self, optimizers: Sequence[str], seeds: Sequence[int], given: Sequence[str] = ()) -> list[list[str]]:
        """The overrides of each run: every optimizer, with its tuned settings, and every seed.

        Of several cells with an optimizer the first is taken. given: settings of the command line, above all others.
        Raises UsageError for an experiment that does not exist, and for a seed on which it was tuned.
        """
        sweeper = grid.sweeper([self._choice, *self.settings])
        if shared := sorted({*seeds} & {*((sweeper["tune"] or {}).get("seeds") or ())}):
            raise UsageError(f"seed: got {shared[0]}, on which {self.experiment} is tuned; allowed: other seeds")
        cells = [[*self.settings, *_first_cell(sweeper["cells"], name)] for name in optimizers]
        if sweeper["tuned"]:
            cells = tuning.chosen(cells, sweeper["tuned"], given)
        return [[self._choice, *cell, f"seed={seed}", *given] for cell in cells for seed in seeds]

    def search(
        self, optimizers: Sequence[str], values: Mapping[str, Sequence[Any]], given: Sequence[str] = ()
    ) -> dict[str, Any]:
        """The node hydra.sweeper of a search for settings of optimizers on this problem.

        values: by setting, those to try; with none, the grids that the experiment declares. optimizers: with none,
        those with a declared grid. A setting that an earlier search chose, and that `values` does not vary, keeps its
        value and is chosen again. The choice holds for the settings of the problem and `given` alone. Raises UsageError
        for an experiment that is not tuned, and for an optimizer without a grid.
        """
        sweeper = grid.sweeper([self._choice, *self.settings, *filter(_is_of_sweep, given)])
        for key, allowed in (("tune", "its seeds and metric"), ("tuned", "the name of a file for the choice")):
            if not sweeper[key]:
                raise UsageError(f"{self.experiment}: no hydra.sweeper.{key}; allowed in a suite to tune on: {allowed}")
        tune = tuning.checked(sweeper)
        names = optimizers or [name for name in optimizers_of(sweeper["cells"]) if self._declared(sweeper, tune, name)]
        if values:
            grids = {f"optimizer={name}": self._varied(sweeper, name, values, given) for name in names}
        elif without := [name for name in names if not self._declared(sweeper, tune, name)]:
            raise UsageError(
                f"tune: no grid for {', '.join(without)} on {self.name}; allowed: a setting with several values, as "
                "optimizer.lr=1,0.1,0.01"
            )
        else:
            grids = tune["grids"]
        conditions = [*self.settings, *(setting for setting in given if not setting.startswith("hydra"))]
        cells = [[*_first_cell(sweeper["cells"], name), *conditions] for name in names]
        return {**sweeper, "cells": cells, "tune": {**tune, "grids": grids}}

    def trials(self, search: Mapping[str, Any]) -> list[list[str]]:
        """The overrides of each run of a search."""
        cells, seeds = tuning.trials(search)
        return [[self._choice, *cell, seed] for cell in cells for seed in seeds]

    @property
    def _choice(self) -> str:
        return f"experiment={self.experiment}"

    def _declared(self, sweeper: Mapping[str, Any], tune: Mapping[str, Any], optimizer: str) -> dict[str, list[Any]]:
        return tuning.grid_of(_first_cell(sweeper["cells"], optimizer), tune)

    def _varied(
        self, sweeper: Mapping[str, Any], optimizer: str, values: Mapping[str, Sequence[Any]], given: Sequence[str]
    ) -> dict[str, Sequence[Any]]:
        """The grid of an optimizer: the values to try, and those of the other settings that are chosen already."""
        own = [*self.settings, *_first_cell(sweeper["cells"], optimizer), *given]
        before = tuning.choice(own, tuning.entries(sweeper["tuned"]))
        return {**values, **{key: [value] for key, value in before.items() if key not in values}}


def _is_of_sweep(setting: str) -> bool:
    """Whether a setting can change the node hydra.sweeper."""
    return setting.startswith(("hydra.", "hydra/", "budget"))


def optimizers_of(cells: Sequence[list[str]]) -> list[str]:
    """The optimizers of the cells, in order."""
    chosen = [setting for cell in cells for setting in cell if setting.startswith("optimizer=")]
    return [setting.partition("=")[2] for setting in dict.fromkeys(chosen)]


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
