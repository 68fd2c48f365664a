"""`read`: what one run directory holds, its rows as columns. It knows nothing of other runs. No pandas, no torch."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path

import numpy as np

from sobench.results.state import State, state

IDENTITY = ("kind", "run", "cell", "dataset", "model", "optimizer", "status", "reason")
"""Columns of few distinct values, categorical in the frame."""
SUMMARY = ("parameters", "state_bytes", "peak_host_bytes", "peak_device_bytes", "warm_start_seconds", "shared")
"""Numbers of summary.json that every row of their run repeats: metrics of the run, read like any other. shared: 1 for a run
that shared its GPU."""

Columns = dict[str, np.ndarray | list]
"""{column: values [rows]}: float64, None as NaN; a list where they are not numbers."""


@dataclass(frozen=True)
class Record:
    """One run: how it stands, what it is, and its rows as columns: a block for each kind of row."""

    state: State
    identity: dict[str, object] = field(default_factory=dict)  # the columns IDENTITY, seed, and SUMMARY; empty if not known
    blocks: list[tuple[str, Columns]] = field(default_factory=list)  # (kind, columns)
    environment: dict = field(default_factory=dict)
    damage: str | None = None


def read(directory: Path) -> Record:
    """The record of one run directory. A last line without its end is ignored: the run was killed while writing it."""
    found = state(directory)
    if not directory.is_dir():
        return Record(found)
    environment = _environment(directory / "environment.json")
    try:
        run = json.loads((directory / "run.json").read_bytes())
        config = run["config"]
        identity = {"run": run["id"], "cell": run["cell"], "seed": int(run["seed"])}
        identity |= {group: config[group]["name"] for group in ("dataset", "model", "optimizer")}
    except FileNotFoundError:  # nothing yet is no damage: a run may be starting
        damage = "no run.json" if (directory / "metrics.jsonl").exists() else None
        return Record(found, environment=environment, damage=damage)
    except (OSError, ValueError, KeyError, TypeError):
        return Record(found, environment=environment, damage="run.json cannot be read")
    identity |= {"status": found.status, "reason": found.reason}
    identity |= {name: _number(found.summary.get(name)) for name in SUMMARY}
    rows, damage = _rows(directory / "metrics.jsonl")
    damage = damage or (found.reason if found.status == "interrupted" else None)
    return Record(found, identity, _blocks(rows), environment, damage)


def _environment(path: Path) -> dict:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _rows(path: Path) -> tuple[list[dict], str | None]:
    """Whole rows, a step of a kind once (the later: a resumed run may have written it again), and the damage."""
    try:
        text = path.read_bytes()
    except OSError:
        return [], None
    lines = [line for line in text[: text.rfind(b"\n") + 1].split(b"\n") if line]
    damage = None
    try:
        rows = json.loads(b"[" + b",".join(lines) + b"]")  # one call: about twice as fast as a call a line
    except ValueError:
        rows = [row for row in map(_parsed, lines) if row is not None]
        damage = f"{len(lines) - len(rows)} of {len(lines)} lines of metrics.jsonl cannot be read"
    good = {(row["kind"], row["step"]): row for row in rows if isinstance(row, dict) and "kind" in row and "step" in row}
    return list(good.values()), damage


def _parsed(line: bytes) -> object | None:
    try:
        return json.loads(line)
    except ValueError:
        return None


def _number(value: object) -> float:
    return float(value) if isinstance(value, (int, float)) else float("nan")


def _blocks(rows: list[dict]) -> list[tuple[str, Columns]]:
    kinds: dict[str, list[dict]] = {}
    for row in rows:
        kinds.setdefault(row["kind"], []).append(row)
    return [(kind, _columns(sorted(kinds[kind], key=itemgetter("step")))) for kind in sorted(kinds)]


def _columns(rows: list[dict]) -> Columns:
    """The columns of rows of one kind, in the order in which they first appear."""
    layouts = dict.fromkeys(map(tuple, rows))
    names = [name for name in dict.fromkeys(name for layout in layouts for name in layout) if name != "kind"]
    if len(layouts) == 1 and len(names) > 1:  # every row has them all: at once
        try:
            values = np.array(list(map(itemgetter(*names), rows)), dtype=float)
            if values.ndim == 2:
                return dict(zip(names, np.ascontiguousarray(values.T), strict=True))
        except (TypeError, ValueError, OverflowError):
            pass  # one of them is no number: column by column
    return {name: _numbers([row.get(name) for row in rows]) for name in names}


def _numbers(values: list) -> np.ndarray | list:
    """The values as they are, where they are not numbers (an outcome in words)."""
    try:
        numbers = np.array(values, dtype=float)  # None becomes NaN
        return numbers if numbers.ndim == 1 else values
    except (TypeError, ValueError, OverflowError):
        return values
