"""Hyperparameter tuning: the grids of an experiment, and the file of the settings chosen from them. No torch.

    hydra.sweeper.tune:
      seeds: [1000, 1001]                            other seeds than those that are reported
      metric: validation_accuracy
      better: higher
      grids:                                         by optimizer, or by more settings of a cell
        kernel_sgd: {optimizer.lr: [0.1, 0.01], optimizer.gamma: [0.1, 0.01]}
        kernel_sgd optimizer.kernel=linear: {optimizer.lr: [0.1, 0.01]}

A trial is a cell of the experiment with one combination of the grid's values in place of its own settings, run with
every tuning seed. Its score is the mean over the seeds; a trial that did not finish with all of them cannot be chosen.
The choice is written to conf/tuned/<name>.yaml, a list of entries, and the experiment then runs with it
(`hydra.sweeper.tuned: <name>`).
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sobench.config import files
from sobench.errors import UsageError

Cell = list[str]
KEYS = {"seeds", "metric", "better", "at", "grids"}


def trials(sweeper: Mapping[str, Any]) -> tuple[list[Cell], list[str]]:
    """The cells of all trials, and the overrides that set the tuning seeds.

    sweeper: the node hydra.sweeper. Raises UsageError for an experiment that declares no grid.
    """
    tune = checked(sweeper)
    cells = []
    for cell in sweeper["cells"]:
        if grid := grid_of(cell, tune):
            rest = without(cell, grid)
            cells += [[*rest, *combination] for combination in combinations(grid)]
    return cells, [f"seed={seed}" for seed in tune["seeds"]]


def checked(sweeper: Mapping[str, Any]) -> dict[str, Any]:
    """The node `tune` of hydra.sweeper, with its defaults.

    Raises UsageError for one that is missing, incomplete or wrong.
    """
    tune = sweeper["tune"]
    if not tune:
        raise UsageError("tune: this experiment declares no grid; allowed: one with hydra.sweeper.tune")
    if unknown := sorted({*tune} - KEYS):
        raise UsageError(f"hydra.sweeper.tune.{unknown[0]}: no such key; allowed: {', '.join(sorted(KEYS))}")
    if missing := sorted(KEYS - {"at"} - {*tune}):
        raise UsageError(f"hydra.sweeper.tune.{missing[0]}: must be given")
    if not tune["seeds"] or tune["better"] not in ("lower", "higher"):
        raise UsageError("hydra.sweeper.tune: allowed: a list of seeds, and better: lower or higher")
    return {"at": "best", **tune}


def grid_of(cell: Cell, tune: Mapping[str, Any]) -> dict[str, list[Any]]:
    """The grid of a cell: the last one whose settings are all in the cell; empty if there is none."""
    grid: dict[str, list[Any]] = {}
    for key, values in tune["grids"].items():
        settings = {word if "=" in word else f"optimizer={word}" for word in key.split()}
        if settings <= {*cell}:
            grid = values
    return grid


def combinations(grid: Mapping[str, Sequence]) -> list[Cell]:
    """Every combination of the grid's values, as overrides."""
    return [[f"{key}={value}" for key, value in zip(grid, values)] for values in itertools.product(*grid.values())]


def without(cell: Cell, keys: Iterable[str]) -> Cell:
    """A cell without its settings of these keys."""
    removed = {*keys}
    return [setting for setting in cell if setting.partition("=")[0] not in removed]


def file(name: str) -> Path | None:
    """The file tuned/<name>.yaml, the user's own before that of sobench; None if there is none.

    Raises UsageError for a name that is a path.
    """
    return files.find(f"tuned/{_checked_name(name)}")


def file_to_write(name: str) -> Path:
    """The file tuned/<name>.yaml of the user's own folder, which may not exist. Raises UsageError as `file` does."""
    return files.conf_dir_to_write() / "tuned" / f"{_checked_name(name)}.yaml"


def _checked_name(name: str) -> str:
    if not re.fullmatch(r"[\w-]+", str(name)):
        raise UsageError(f"hydra.sweeper.tuned: got {name!r}, allowed: the name of a file of conf/tuned/")
    return name


def entries(name: str) -> list[dict[str, Any]]:
    """The choices in a file, each with its `cell` and its `values`; none where the file is missing.

    Raises UsageError for a file that is not a list of entries.
    """
    import yaml

    path = file(name)
    try:
        contents = yaml.safe_load(path.read_text("utf-8")) if path else []
    except yaml.YAMLError:
        contents = None
    if not (isinstance(contents, list) and all(isinstance(e, dict) and {"cell", "values"} <= {*e} for e in contents)):
        raise UsageError(
            f"{path}: allowed: a list of entries, each with a cell and its values; `sobench tune` writes it"
        )
    return contents


def chosen(cells: list[Cell], name: str) -> list[Cell]:
    """The cells with tuned settings in place of their own: those of the cell, or of the nearest less specific one."""
    tuned = {frozenset(entry["cell"]): entry["values"] for entry in entries(name)}
    changed = []
    for cell in cells:
        near = nearest(cell, tuned)
        values = tuned[near] if near is not None else {}
        changed.append([*without(cell, values), *(f"{key}={value}" for key, value in values.items())])
    return changed


def nearest(settings: Sequence[str], cells: Iterable[frozenset[str]]) -> frozenset[str] | None:
    """The largest of the cells that are contained in these settings; None if there is none."""
    return max((cell for cell in cells if cell <= {*settings}), key=len, default=None)
