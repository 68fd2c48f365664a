"""`load`: run directories to one long frame, a row for each row of metrics.jsonl.

`read` turns one directory into columns and knows nothing of the others; `assemble` joins them. A cache would stand
between the two, keyed by the directory and the size and time of its metrics.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path

import numpy as np
import pandas as pd

from sobench.results.state import state

IDENTITY = ("kind", "run", "cell", "dataset", "model", "optimizer", "status", "reason")
"""Columns of few distinct values, categorical in the frame."""
SUMMARY = ("parameters", "state_bytes", "peak_host_bytes", "peak_device_bytes", "warm_start_seconds", "shared")
"""Numbers of summary.json that every row of their run repeats: metrics of the run, read like any other. shared: 1 for a run
that shared its GPU."""


@dataclass(frozen=True)
class Record:
    """One run: what it is, and its rows as columns: a block for each kind of row."""

    identity: dict[str, object]  # the columns IDENTITY, seed, and SUMMARY
    blocks: list[tuple[str, dict[str, list]]] = field(default_factory=list)  # (kind, {column: values [rows]})
    damage: str | None = None


def find(root: Path) -> list[Path]:
    """Every run directory under `root` (or `root` itself, if it is one), in a stable order."""
    root = Path(root)
    return [root] if (root / "run.json").exists() else sorted(root.glob("*/seed-*"))


def load(paths: Iterable[Path] | Path | str) -> pd.DataFrame:
    """One long frame of all rows of all runs, a run's rows together, its train rows and eval rows in order of step.

    `paths` is a root, or the run directories; those that do not exist add nothing. Columns: kind, run, cell, seed,
    dataset, model, optimizer, status, reason, the numbers of SUMMARY (NaN for a run that is not over), then every number
    the rows hold (NaN where a row has none). A run that is damaged is named in one warning; its good rows are kept.
    """
    directories = find(Path(paths)) if isinstance(paths, (str, Path)) else [Path(path) for path in paths]
    records, damaged = [], []
    for directory in directories:
        if not directory.is_dir():
            continue
        record = read(directory)
        if record.damage:
            damaged.append(f"{directory} ({record.damage})")
        if record.identity:
            records.append(record)
    if damaged:
        warnings.warn("damaged runs: " + ", ".join(damaged), stacklevel=2)
    return assemble(records)


def read(directory: Path) -> Record:
    """The rows of one run directory. A last line without its end is ignored: the run was killed while writing it."""
    try:
        run = json.loads((directory / "run.json").read_bytes())
        config = run["config"]
        identity = {"run": run["id"], "cell": run["cell"], "seed": int(run["seed"])}
        identity |= {group: config[group]["name"] for group in ("dataset", "model", "optimizer")}
    except FileNotFoundError:  # nothing yet is no damage: a run may be starting
        return Record({}, damage="no run.json" if (directory / "metrics.jsonl").exists() else None)
    except (OSError, ValueError, KeyError, TypeError):
        return Record({}, damage="run.json cannot be read")
    found = state(directory)
    identity |= {"status": found.status, "reason": found.reason}
    identity |= {name: _number(found.summary.get(name)) for name in SUMMARY}
    rows, damage = _rows(directory / "metrics.jsonl")
    return Record(identity, _blocks(rows), damage or (found.reason if found.status == "interrupted" else None))


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
    good = {(row["kind"], row["step"]): row for row in rows if isinstance(row, dict) and {"kind", "step"} <= row.keys()}
    return list(good.values()), damage


def _parsed(line: bytes) -> object | None:
    try:
        return json.loads(line)
    except ValueError:
        return None


def _number(value: object) -> float:
    return float(value) if isinstance(value, (int, float)) else float("nan")


def _blocks(rows: list[dict]) -> list[tuple[str, dict[str, list]]]:
    blocks = []
    for kind in sorted({row["kind"] for row in rows}):
        of_kind = sorted((row for row in rows if row["kind"] == kind), key=lambda row: row["step"])
        names = dict.fromkeys(name for row in of_kind for name in row if name != "kind")
        blocks.append((kind, {name: [row.get(name) for row in of_kind] for name in names}))
    return blocks


def assemble(records: list[Record]) -> pd.DataFrame:
    """One frame of all records. Each column is allocated once and filled block by block."""
    blocks = [(record.identity, kind, columns) for record in records for kind, columns in record.blocks]
    lengths = [len(columns["step"]) for _, _, columns in blocks]
    ends = list(accumulate(lengths))
    total = ends[-1] if ends else 0
    data: dict[str, object] = {}
    for name in (*IDENTITY[:3], "seed", *IDENTITY[3:]):
        values = [kind if name == "kind" else identity[name] for identity, kind, _ in blocks]
        data[name] = _repeated(values, lengths) if name in IDENTITY else np.repeat(np.array(values, dtype=int), lengths)
    data |= {name: np.repeat(np.array([run[name] for run, _, _ in blocks], dtype=float), lengths) for name in SUMMARY}
    names = dict.fromkeys(["step", "epoch", "seconds"] + [name for _, _, columns in blocks for name in columns])
    for name in names:
        if name in data:  # a row does not rename its run
            continue
        column = np.full(total, np.nan)
        for (_, _, columns), end, length in zip(blocks, ends, lengths, strict=True):
            if name in columns:
                column = _fill(column, slice(end - length, end), columns[name])
        data[name] = column
    return pd.DataFrame(data)


def _repeated(values: list, lengths: list[int]) -> pd.Categorical:
    codes, categories = pd.factorize(np.array(values, dtype=object))
    return pd.Categorical.from_codes(np.repeat(codes, lengths), categories=categories)


def _fill(column: np.ndarray, rows: slice, values: list) -> np.ndarray:
    """Put values into column; what is not a number (an outcome in words) makes it a column of objects."""
    try:
        column[rows] = np.array(values, dtype=float)  # None becomes NaN
        return column
    except (TypeError, ValueError):
        column = column.astype(object)
        column[rows] = values
        return column
