"""`sobench runs`: find the folders of runs by their settings."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sobench.cli.arguments import check_overrides, value_of
from sobench.config import names
from sobench.config.files import flat
from sobench.config.registry import suggestion
from sobench.errors import Failure, UsageError
from sobench.results.status import CellStatus, cells, run_directories
from sobench.system import text


def runs(args: argparse.Namespace) -> int:
    """Print the folder, the state and the name of each run under `runs` that has the settings.

    Raises UsageError for a setting that no run has, Failure if no run has all of them.
    """
    overrides = check_overrides(args.overrides)
    root = Path(value_of("runs", overrides) or "runs")
    where = _parsed([override for override in overrides if not override.startswith("runs=")])
    found = [cell for cell in cells(run_directories(root)) if cell.settings]
    if not found:
        raise Failure(f"runs: no runs under {root}")
    for key in where:
        _check_key(key, found)
    seed = where.pop("seed", None)
    chosen = [cell for cell in found if all(_has(cell.settings or {}, key, value) for key, value in where.items())]
    title = names.names({cell.name: cell.settings or {} for cell in chosen})
    rows = [
        (os.path.join(root, cell.name, f"seed-{number}"), state.status, f"{title[cell.name]} seed {number}")
        for cell in chosen
        for number, state in cell.states.items()
        if seed is None or number == seed
    ]
    if not rows:
        raise Failure(f"runs: no run under {root} has all of {' '.join(args.overrides)}")
    print(*text.table(rows), sep="\n")
    return 0


def _parsed(overrides: Sequence[str]) -> dict[str, Any]:
    import yaml

    pairs = (override.partition("=") for override in overrides)
    return {key: yaml.safe_load(value) for key, _, value in pairs}


def _check_key(key: str, cells: Sequence[CellStatus]) -> None:
    known = {"seed"}.union(*(_settings(cell.settings or {}) for cell in cells))
    if key not in known:
        raise UsageError(f"{key}: no run has this setting, {suggestion(key, known)}")


def _has(settings: Mapping[str, Any], key: str, value: Any) -> bool:
    """Whether a run has this value. A data set has its own name and that of its loader."""
    found = _settings(settings).get(key)
    return found == value or str(found) == str(value) or (key == "dataset" and value == settings["dataset"]["name"])


def _settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a run by their dotted paths, and the names of its groups."""
    groups = {key: node["name"] for key, node in settings.items() if isinstance(node, dict) and "name" in node}
    return {**dict(flat(settings)), **groups, "dataset": names.dataset(settings["dataset"])}
