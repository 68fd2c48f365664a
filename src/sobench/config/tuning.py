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
The choice is written to tuned/<name>.yaml of the user's own folder, a list of entries, and the experiment then runs
with it (`hydra.sweeper.tuned: <name>`). The entries of sobench's own file of that name hold beside those of the user.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sobench.config import files
from sobench.errors import UsageError

Cell = list[str]
Entry = dict[str, Any]
KEYS = {"seeds", "metric", "better", "at", "grids"}
HYPERPARAMETERS = ("optimizer", "schedule", "batch_size", "drop_last", "batches", "init", "l2")
"""The top-level settings that are hyperparameters of a method; all others make the problem."""


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


def values_of(settings: Iterable[str]) -> dict[str, Any]:
    """The values of settings KEY=VALUE, as Hydra reads them."""
    from omegaconf import OmegaConf

    pairs = (setting.partition("=") for setting in settings)
    return {key: OmegaConf.from_dotlist([f"v={text}"]).v for key, _, text in pairs}


# The file of the choices


def file_to_write(name: str) -> Path:
    """The file tuned/<name>.yaml of the user's own folder, which may not exist.

    Raises UsageError for a name that is a path, and for a folder that cannot be written.
    """
    path = files.conf_dir_to_write() / files.TUNED / f"{_checked_name(name)}.yaml"
    there = next(folder for folder in path.parents if folder.exists())
    if not there.is_dir():
        raise UsageError(f"{there} is a file; allowed: a folder for the settings that are chosen, or {files.OWN}=DIR")
    if not os.access(there, os.W_OK | os.X_OK) or (path.exists() and not os.access(path, os.W_OK)):
        raise UsageError(
            f"{path} cannot be written; allowed: a folder of your own for the settings that are chosen, {files.OWN}=DIR"
        )
    return path


def _checked_name(name: str) -> str:
    if not re.fullmatch(r"[\w-]+", str(name)):
        raise UsageError(f"hydra.sweeper.tuned: got {name!r}, allowed: the name of a file of conf/tuned/")
    return name


def entries(name: str) -> list[Entry]:
    """The choices that hold, each with its `cell` and its `values`: those of sobench, and the user's own, which come
    last. None where there is no file.

    Raises UsageError for a name that is a path, and for a file that is not a list of entries.
    """
    found: list[Entry] = []
    for folder in reversed(files.conf_dirs()):
        found = joined(found, read(folder / files.TUNED / f"{_checked_name(name)}.yaml"))
    return found


def read(path: Path) -> list[Entry]:
    """The choices in a file; none where it is missing. Raises UsageError for a file that is not a list of entries."""
    import yaml

    try:
        contents = yaml.safe_load(path.read_text("utf-8")) if path.is_file() else []
    except yaml.YAMLError:
        contents = None
    if not (isinstance(contents, list) and all(isinstance(e, dict) and {"cell", "values"} <= {*e} for e in contents)):
        raise UsageError(
            f"{path}: allowed: a list of entries, each with a cell and its values; `sobench tune` writes it"
        )
    return contents


def joined(older: Sequence[Entry], newer: Sequence[Entry]) -> list[Entry]:
    """The older choices that no newer one replaces, and the newer ones.

    A choice replaces those for its own cell, and those for cells that differ from it only in settings it chooses.
    """
    return [entry for entry in older if not any(_replaces(new, entry) for new in newer)] + list(newer)


def _replaces(new: Entry, old: Entry) -> bool:
    further = {*old["cell"]} - {*new["cell"]}
    return {*new["cell"]} <= {*old["cell"]} and {setting.partition("=")[0] for setting in further} <= {*new["values"]}


def chosen(cells: list[Cell], name: str, given: Sequence[str] = ()) -> list[Cell]:
    """The cells with tuned settings in place of their own, see `choice`."""
    choices, changed = entries(name), []
    for cell in cells:
        values = choice([*cell, *given], choices)
        changed.append([*without(cell, values), *(f"{key}={value}" for key, value in values.items())])
    return changed


def choice(settings: Sequence[str], choices: Sequence[Entry]) -> dict[str, Any]:
    """The values that were chosen for the largest cell that is contained in these settings; {} if there is none."""
    tuned = {frozenset(entry["cell"]): entry["values"] for entry in choices}
    near = nearest(settings, tuned)
    return tuned[near] if near is not None else {}


def nearest(settings: Sequence[str], cells: Iterable[frozenset[str]]) -> frozenset[str] | None:
    """The largest of the cells that are contained in these settings, of equal ones the last; None if there is none."""
    contained = [cell for cell in cells if cell <= {*settings}]
    return max(reversed(contained), key=len, default=None)
