"""The contents of one run directory, with the rows as columns. No pandas, no torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sobench.results.blocks import Block, read_blocks
from sobench.results.parse import loads
from sobench.results.state import DAMAGED, State, state

IDENTITY = ("kind", "run", "cell", "dataset", "model", "optimizer", "status", "reason")
"""Columns with few distinct values, categorical in the frame."""
SUMMARY = (
    "parameters",
    "state_bytes",
    "peak_host_bytes",
    "peak_device_bytes",
    "warm_start_seconds",
    "compile_seconds",
    "shared",
)
"""Numbers of summary.json, which every row of the run repeats like a metric. shared: 1 if the run shared its GPU."""
STEP_COST = "step_cost"
"""The time of a step relative to that of SGD with momentum, which the rows of a run repeat if it was measured (see
`step_costs`). Not of summary.json: it may be measured later."""

AXES = ("step", "epoch", "seconds")
"""Columns that every frame has."""

Wanted = Callable[[str], bool]
"""Whether a column is wanted, by its name."""


def everything(name: str) -> bool:
    return True


@dataclass(frozen=True)
class Record:
    """One run. identity: run, cell, seed, dataset, model, optimizer; empty if unknown. blocks: by kind of row."""

    state: State
    identity: dict[str, Any] = field(default_factory=dict)
    blocks: list[Block] = field(default_factory=list)
    environment: dict[str, Any] = field(default_factory=dict)
    damage: str | None = None


def read(directory: Path) -> Record:
    """The record of one run directory. An unfinished last line, of a run that was killed, is ignored.

    A damaged run has no rows.
    """
    run_state = state(directory)
    if not directory.is_dir():
        return Record(run_state)
    environment = _environment(directory / "environment.json")
    try:
        run = loads((directory / "run.json").read_bytes())
        config = run["config"]
        identity = {"run": run["id"], "cell": run["cell"], "seed": int(run["seed"])}
        identity |= {group: config[group]["name"] for group in ("dataset", "model", "optimizer")}
    except FileNotFoundError:  # no damage without rows: the run may be starting
        damage = "no run.json" if (directory / "metrics.jsonl").exists() else None
        return Record(run_state, environment=environment, damage=damage)
    except (OSError, ValueError, KeyError, TypeError):
        return Record(run_state, environment=environment, damage="run.json cannot be read")
    if run_state.status == DAMAGED:
        return Record(run_state, identity, environment=environment, damage=run_state.reason)
    blocks, damage = read_blocks(directory / "metrics.jsonl")
    return Record(run_state, identity, blocks, environment, damage)


def _environment(path: Path) -> dict[str, Any]:
    try:
        environment = loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return environment if isinstance(environment, dict) else {}
