"""`read`: what one run directory holds, its rows as columns. It knows nothing of other runs. No pandas, no torch."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np

from sobench.parse import loads
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
class Block:
    """Rows of one kind of one run. names: its columns, as they first appear; numbers: those of numbers, float64, None as NaN,
    which may hold more rows: those of this block are `rows` from `start` on; words: the others."""

    kind: str
    names: Sequence[str]
    numbers: dict[str, np.ndarray]
    words: dict[str, list]
    rows: int
    start: int = 0


@dataclass(frozen=True)
class Record:
    """One run: how it stands, what it is, and its rows: a block for each kind of row."""

    state: State
    identity: dict[str, Any] = field(default_factory=dict)  # run, cell, seed, dataset, model, optimizer; empty if not known
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
    blocks, damage = _blocks_of(directory / "metrics.jsonl")
    damage = damage or (found.reason if found.status == "interrupted" else None)
    return Record(found, identity, blocks, environment, damage)


def _environment(path: Path) -> dict:
    try:
        found = loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _blocks_of(path: Path) -> tuple[list[Block], str | None]:
    """The rows, and the damage."""
    try:
        text = path.read_bytes()
    except OSError:
        return [], None
    lines = [line for line in text[: text.rfind(b"\n") + 1].split(b"\n") if line]
    rows, damage = _rows(lines, loads)
    blocks = _blocks(rows)
    if any(block.words for block in blocks):  # where all are not made floats, an integer of any size stays one
        rows, damage = _rows(lines, json.loads)
        blocks = _blocks(rows)
    return blocks, damage


def _rows(lines: list[bytes], loads: Callable[[bytes], Any]) -> tuple[list[dict], str | None]:
    """Whole rows, a step of a kind once (the later: a resumed run may have written it again), and the damage."""
    damage = None
    try:
        rows = loads(b"[" + b",".join(lines) + b"]")  # one call: about twice as fast as a call a line
    except ValueError:
        rows = [row for line in lines if (row := _parsed(line, loads)) is not None]
        damage = f"{len(lines) - len(rows)} of {len(lines)} lines of metrics.jsonl cannot be read"
    good = {(row["kind"], row["step"]): row for row in rows if isinstance(row, dict) and "kind" in row and "step" in row}
    return list(good.values()), damage


def _parsed(line: bytes, loads: Callable[[bytes], Any]) -> object | None:
    try:
        return loads(line)
    except ValueError:
        return None


def _blocks(rows: list[dict]) -> list[Block]:
    kinds: dict[str, list[dict]] = {}
    for row in rows:
        kinds.setdefault(row["kind"], []).append(row)
    return [_block(kind, sorted(kinds[kind], key=itemgetter("step"))) for kind in sorted(kinds)]


def _block(kind: str, rows: list[dict]) -> Block:
    """Its columns are in the order in which they first appear."""
    layouts = dict.fromkeys(map(tuple, rows))
    names = [name for name in dict.fromkeys(name for layout in layouts for name in layout) if name != "kind"]
    if len(layouts) == 1 and len(names) > 1:  # every row has them all: at once
        try:
            values = np.array(list(map(itemgetter(*names), rows)), dtype=float)
            if values.ndim == 2:
                return Block(kind, names, dict(zip(names, np.ascontiguousarray(values.T), strict=True)), {}, len(rows))
        except (TypeError, ValueError, OverflowError):
            pass  # one of them is no number: column by column
    columns = {name: _numbers([row.get(name) for row in rows]) for name in names}
    words = {name: cells for name, cells in columns.items() if isinstance(cells, list)}
    return Block(kind, names, {name: cells for name, cells in columns.items() if name not in words}, words, len(rows))


def _numbers(values: list) -> np.ndarray | list:
    """The values as they are, where they are not numbers (an outcome in words)."""
    try:
        numbers = np.array(values, dtype=float)  # None becomes NaN
        return numbers if numbers.ndim == 1 else values
    except (TypeError, ValueError, OverflowError):
        return values
