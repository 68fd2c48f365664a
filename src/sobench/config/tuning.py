"""Settings chosen by trial: the grid that an experiment declares, the choice, and where it is kept. No torch.

    hydra.sweeper.tune:
      seeds: [1000, 1001]                            not those that are reported
      metric: validation_accuracy
      better: higher
      grids:                                         by optimizer, or by more settings of a cell: every combination is a trial
        kernel_sgd: {optimizer.lr: [0.1, 0.01], optimizer.gamma: [0.1, 0.01]}
        kernel_sgd optimizer.kernel=linear: {optimizer.lr: [0.1, 0.01]}

A trial is a cell of the experiment with one combination in place of its own settings, run with every tuning seed; its score is
the mean over them, and one that did not finish with all of them cannot be chosen. What is chosen is written to
conf/tuned/<name>.yaml, a list of entries, which the experiment then runs with (`hydra.sweeper.tuned: <name>`).
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
    """The cells of the grids, and the overrides of the tuning seeds. Raises UsageError for an experiment that has none."""
    tune = checked(sweeper)
    cells = [
        [*bare, *combination]
        for cell in sweeper["cells"]
        if (grid := grid_of(cell, tune))
        for bare in [without(cell, grid)]
        for combination in combinations(grid)
    ]
    return cells, [f"seed={seed}" for seed in tune["seeds"]]


def checked(sweeper: Mapping[str, Any]) -> dict[str, Any]:
    """The `tune` of a sweeper. Raises UsageError."""
    tune = sweeper["tune"]
    if not tune:
        raise UsageError("tune: this experiment declares no grid; allowed: one with hydra.sweeper.tune")
    if strange := sorted({*tune} - KEYS):
        raise UsageError(f"hydra.sweeper.tune.{strange[0]}: no such key; allowed: {', '.join(sorted(KEYS))}")
    if missing := sorted(KEYS - {"at"} - {*tune}):
        raise UsageError(f"hydra.sweeper.tune.{missing[0]}: must be given")
    if not tune["seeds"] or tune["better"] not in ("lower", "higher"):
        raise UsageError("hydra.sweeper.tune: allowed: a list of seeds, and better: lower or higher")
    return {"at": "best", **tune}


def grid_of(cell: Cell, tune: Mapping[str, Any]) -> dict[str, list]:
    """The grid of a cell: the last of those whose settings it has; empty where there is none."""
    fitting = [
        grid
        for key, grid in tune["grids"].items()
        if {s if "=" in s else f"optimizer={s}" for s in key.split()} <= {*cell}
    ]
    return fitting[-1] if fitting else {}


def combinations(grid: Mapping[str, Sequence]) -> list[Cell]:
    """Every combination of the grid's values, as overrides."""
    return [[f"{key}={value}" for key, value in zip(grid, values)] for values in itertools.product(*grid.values())]


def without(cell: Cell, keys) -> Cell:
    """A cell less its settings of these keys."""
    return [s for s in cell if s.partition("=")[0] not in keys]


def file(name: str) -> Path:
    """Raises UsageError for a name that is a path."""
    if not re.fullmatch(r"[\w-]+", str(name)):
        raise UsageError(f"hydra.sweeper.tuned: got {name!r}, allowed: the name of a file of conf/tuned/")
    return files.conf_dir() / "tuned" / f"{name}.yaml"


def entries(name: str) -> list[dict[str, Any]]:
    """What has been chosen so far; none where the file is not there. Raises UsageError for one that is not a list of entries."""
    import yaml

    path = file(name)
    try:
        found = yaml.safe_load(path.read_text("utf-8")) if path.is_file() else []
    except yaml.YAMLError:
        found = None
    if not (isinstance(found, list) and all(isinstance(e, dict) and {"cell", "values"} <= {*e} for e in found)):
        raise UsageError(
            f"{path}: allowed: a list of entries, each with a cell and its values; `sobench tune` writes it"
        )
    return found


def chosen(cells: list[Cell], name: str) -> list[Cell]:
    """The cells, with what was chosen in place of their own settings: for them, or for the nearest cell that says less."""
    known = {frozenset(entry["cell"]): entry["values"] for entry in entries(name)}
    changed = []
    for cell in cells:
        values = known.get(nearest(cell, known), {})
        changed.append([*without(cell, values), *(f"{key}={value}" for key, value in values.items())])
    return changed


def nearest(settings: Sequence[str], cells: Iterable[frozenset[str]]) -> frozenset[str] | None:
    """The largest of the cells all of whose settings are among these."""
    return max((cell for cell in cells if cell <= {*settings}), key=len, default=None)
