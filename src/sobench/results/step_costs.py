"""Measured costs of steps, kept with the runs: runs/.costs/<key>.json, written by `sobench bench cells`. No torch.

The cost of a step is its time relative to that of a step of SGD with momentum on the same problem. It depends on the
cell, without the settings that do not change a step, and on the machine; a file has one entry for each machine.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Container, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from sobench.config.identity import identity
from sobench.config.run import Run
from sobench.results.record import STEP_COST, WARM_START_COST
from sobench.system.files import parse_json, write_atomically
from sobench.system.text import plural

FOLDER = ".costs"
NOT_OF_A_STEP = ("budget", "evaluate", "log", "convergence", "instrument")
"""Settings of a cell that do not change its steps, or only what happens while the training clock stands still."""

NUMBERS = {STEP_COST: "ratio", WARM_START_COST: "warm_start"}
"""The keys of the numbers in a file, by their names as columns. Files of earlier versions have no warm start."""

Costs = dict[str, dict[str, Any]]
"""By machine: ratio, and how it was measured."""


def path(root: Path | str, settings: Mapping[str, Any]) -> Path:
    """The file of the cell with these settings."""
    counted = {key: value for key, value in identity(settings).items() if key not in NOT_OF_A_STEP}
    if samples := settings.get("budget", {}).get("samples"):  # a step may need the gradient of the whole training set
        counted["samples"] = samples
    key = hashlib.sha256(json.dumps(counted, sort_keys=True).encode()).hexdigest()[:12]
    return Path(root, FOLDER, f"{key}.json")


def machine(environment: Mapping[str, Any]) -> str:
    """The machine on which a run was made, by its environment: "AMD EPYC, 2 threads"."""
    return f"{environment.get('device_name')}, {plural(environment.get('threads') or 0, 'thread')}"


def read(file: Path) -> Costs:
    """The costs in a file; none if it is missing or damaged."""
    with suppress(OSError, ValueError):
        costs = parse_json(file.read_bytes())
        if isinstance(costs, dict):
            return costs
    return {}


def keep(file: Path, machine: str, cost: Mapping[str, Any]) -> None:
    """Add the cost on this machine to the file, in place of an earlier one. Raises OSError."""
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, json.dumps({**read(file), machine: cost}, indent=1).encode())


def of_runs(
    runs: Iterable[Run], root: Path, environments: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[str, float]]:
    """What is measured of each run, by id and name (MEASURED), on the machine where the run was made; only of the runs
    whose step is known.
    """
    if not Path(root, FOLDER).is_dir():
        return {}
    of_cells: dict[str, Costs] = {}
    found = {}
    for run in runs:
        if run.cell not in of_cells:
            of_cells[run.cell] = read(path(root, run.config))
        cost = of_cells[run.cell].get(machine(environments[run.id]))
        if cost:
            found[run.id] = {name: float(cost[key]) for name, key in NUMBERS.items() if key in cost}
    return found


def missing(runs: Iterable[Run], known: Container[str], environments: Mapping[str, Mapping[str, Any]]) -> str | None:
    """One line about the runs whose cost is not known, with the command that measures it; None without any."""
    lacking = [run for run in runs if run.id not in known and environments[run.id]]
    if not lacking:
        return None
    run, made = lacking[0], environments[lacking[0].id]
    words = [str(run.config.get("experiment") or "EXPERIMENT"), *place_of(run, made)]
    cells = plural(len({run.cell for run in lacking}), "cell")
    return f"cost: not known of {cells} on {machine(made)}; to measure it there: sobench bench cells " + " ".join(words)


def place_of(run: Run, made: Mapping[str, Any]) -> list[str]:
    """The settings of a command that measures on the machine where a run was made, by its environment."""
    words = [f"threads={made.get('threads')}"]
    for key, usual in (("device", "cpu"), ("runs", "runs")):
        if run.config.get(key, usual) != usual:
            words.append(f"{key}={run.config[key]}")
    return words
