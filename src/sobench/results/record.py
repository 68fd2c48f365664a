"""`read`: what one run directory holds, its rows as columns. It knows nothing of other runs. No pandas, no torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sobench.results.blocks import Block, read_blocks
from sobench.results.parse import loads
from sobench.results.state import State, state

IDENTITY = ("kind", "run", "cell", "dataset", "model", "optimizer", "status", "reason")
"""Columns of few distinct values, categorical in the frame."""
SUMMARY = ("parameters", "state_bytes", "peak_host_bytes", "peak_device_bytes", "warm_start_seconds", "shared")
"""Numbers of summary.json that every row of their run repeats: metrics of the run, read like any other. shared: 1 for a run
that shared its GPU."""

AXES = ("step", "epoch", "seconds")
"""Columns that a frame always has."""

Wanted = Callable[[str], bool]
"""Whether a column is wanted, by its name."""


def everything(name: str) -> bool:
    return True


@dataclass(frozen=True)
class Record:
    """One run: how it stands, what it is, and its rows: a block for each kind of row."""

    state: State
    identity: dict[str, Any] = field(
        default_factory=dict
    )  # run, cell, seed, dataset, model, optimizer; empty if not known
    blocks: list[Block] = field(default_factory=list)
    environment: dict = field(default_factory=dict)
    damage: str | None = None


def read(directory: Path) -> Record:
    """The record of one run directory. A last line without its end is ignored: the run was killed while writing it."""
    found = state(directory)
    if not directory.is_dir():
        return Record(found)
    environment = _environment(directory / "environment.json")
    try:
        run = loads((directory / "run.json").read_bytes())
        config = run["config"]
        identity = {"run": run["id"], "cell": run["cell"], "seed": int(run["seed"])}
        identity |= {group: config[group]["name"] for group in ("dataset", "model", "optimizer")}
    except FileNotFoundError:  # nothing yet is no damage: a run may be starting
        damage = "no run.json" if (directory / "metrics.jsonl").exists() else None
        return Record(found, environment=environment, damage=damage)
    except (OSError, ValueError, KeyError, TypeError):
        return Record(found, environment=environment, damage="run.json cannot be read")
    blocks, damage = read_blocks(directory / "metrics.jsonl")
    damage = damage or (found.reason if found.status == "interrupted" else None)
    return Record(found, identity, blocks, environment, damage)


def _environment(path: Path) -> dict:
    try:
        found = loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
