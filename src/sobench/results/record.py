"""The contents of one run directory, with the rows as columns. No pandas, no torch."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sobench.results import digests
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
WARM_START_COST = "warm_start_cost"
"""Likewise the time of the warm start, in steps of SGD with momentum; 0 without one."""
MEASURED = (STEP_COST, WARM_START_COST)

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


def read(directory: Path | str) -> Record:
    """The record of one run directory. An unfinished last line, of a run that was killed, is ignored.

    A damaged run has no rows.
    """
    files = digests.Contents(os.fspath(directory))
    run_state = state(directory, files=files)
    if not os.path.isdir(directory):
        return Record(run_state)
    environment = _environment(files["environment.json"])
    if (about := files["run.json"]) is None:
        return Record(run_state, environment=environment, damage=_unknown(files))
    try:
        run = loads(about)
        config = run["config"]
        identity = {"run": run["id"], "cell": run["cell"], "seed": int(run["seed"])}
        identity |= {group: config[group]["name"] for group in ("dataset", "model", "optimizer")}
    except (ValueError, KeyError, TypeError):
        return Record(run_state, environment=environment, damage="run.json cannot be read")
    if run_state.status == DAMAGED:
        return Record(run_state, identity, environment=environment, damage=run_state.reason)
    blocks, damage = read_blocks(files["metrics.jsonl"] or b"")
    return Record(run_state, identity, blocks, environment, damage)


def _unknown(files: digests.Contents) -> str | None:
    """The damage of a run without a readable run.json. It is none without rows: the run may be starting."""
    if "run.json" not in files.missing:
        return "run.json cannot be read"
    return "no run.json" if os.path.exists(f"{files.folder}/metrics.jsonl") else None


def _environment(text: bytes | None) -> dict[str, Any]:
    try:
        environment = loads(text or b"")
    except ValueError:
        return {}
    return environment if isinstance(environment, dict) else {}
