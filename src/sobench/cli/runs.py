"""`sobench runs`: find the folders of runs by their settings."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from sobench.cli.answer import Answer
from sobench.cli.arguments import Selection, check_overrides
from sobench.config import names
from sobench.config.registry import suggestion
from sobench.errors import Failure, UsageError
from sobench.results import run_documents
from sobench.results.status import CellStatus, cells, run_directories
from sobench.system import text


def runs(args: argparse.Namespace) -> Answer:
    """The folder, the state and the name of each run under `runs` that has the settings.

    Raises UsageError for a setting that no run has, Failure if no run has all of them.
    """
    overrides = check_overrides(args.overrides)
    root, where = Selection(None, overrides).folder, _parsed(overrides)
    found = [(cell, names.by_path(cell.settings)) for cell in cells(run_directories(root)) if cell.settings]
    if not found:
        raise Failure(f"runs: no runs under {root}")
    known = {"seed"}.union(*(settings for _, settings in found))
    for key in where:
        if key not in known:
            raise UsageError(f"{key}: no run has this setting, {suggestion(key, known)}")
    seed = where.pop("seed", None)
    chosen = [cell for cell, settings in found if all(_has(cell, settings, *pair) for pair in where.items())]
    if seed is not None:
        own = [{number: state for number, state in cell.states.items() if number == seed} for cell in chosen]
        chosen = [replace(cell, states=states) for cell, states in zip(chosen, own, strict=True) if states]
    if not chosen:
        raise Failure(f"runs: no run under {root} has all of {' '.join(args.overrides)}")
    return Answer(partial(run_documents.of_cells, chosen, root), partial(_show, chosen, root))


def _show(chosen: Sequence[CellStatus], root: Path) -> None:
    title = names.names({cell.name: cell.settings for cell in chosen if cell.settings})
    rows = [
        (os.path.join(root, cell.name, f"seed-{number}"), state.status, f"{title[cell.name]} seed {number}")
        for cell in chosen
        for number, state in cell.states.items()
    ]
    print(*text.table(rows), sep="\n")


def _parsed(overrides: Sequence[str]) -> dict[str, Any]:
    """The settings that the runs must have."""
    pairs = (override.partition("=") for override in overrides)
    return {key: _value(key, value) for key, _, value in pairs if key != "runs"}


def _value(key: str, written: str) -> Any:
    import yaml

    try:
        return yaml.safe_load(written)
    except yaml.YAMLError as error:
        raise UsageError(f"{key}={written}: no value in YAML; allowed: KEY=VALUE") from error


def _has(cell: CellStatus, settings: Mapping[str, Any], key: str, value: Any) -> bool:
    """Whether the runs of a cell have this value. A data set has its own name and that of its loader."""
    found = settings.get(key)
    is_loader = key == "dataset" and cell.settings is not None and value == cell.settings["dataset"]["name"]
    return found == value or str(found) == str(value) or is_loader
