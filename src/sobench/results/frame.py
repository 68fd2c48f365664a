"""`load`: run directories to one long frame, a row for each row of metrics.jsonl.

`records` reads the directories, or what was kept of them; `assemble` joins them.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from sobench.results.reading import records
from sobench.results.record import IDENTITY, SUMMARY, Record


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
    return joined(directories, records(directories))


def joined(directories: Sequence[Path], found: Sequence[Record]) -> pd.DataFrame:
    """The frame of the records of these directories; one warning names those that are damaged."""
    damaged = [f"{directory} ({record.damage})" for directory, record in zip(directories, found, strict=True) if record.damage]
    if damaged:
        warnings.warn("damaged runs: " + ", ".join(damaged), stacklevel=3)
    return assemble([record for record in found if record.identity])


def assemble(records: list[Record]) -> pd.DataFrame:
    """One frame of all records."""
    blocks = [(record.identity, kind, columns) for record in records for kind, columns in record.blocks]
    lengths = [len(columns["step"]) for _, _, columns in blocks]
    data: dict[str, object] = {}
    for name in (*IDENTITY[:3], "seed", *IDENTITY[3:]):
        values = [kind if name == "kind" else identity[name] for identity, kind, _ in blocks]
        data[name] = _repeated(values, lengths) if name in IDENTITY else np.repeat(np.array(values, dtype=int), lengths)
    data |= {name: np.repeat(np.array([run[name] for run, _, _ in blocks], dtype=float), lengths) for name in SUMMARY}
    names = dict.fromkeys(["step", "epoch", "seconds"] + [name for _, _, columns in blocks for name in columns])
    for name in names:
        if name in data:  # a row does not rename its run
            continue
        data[name] = _column([columns.get(name) for _, _, columns in blocks], lengths)
    return pd.DataFrame(data, copy=False)


def _repeated(values: list, lengths: list[int]) -> pd.Categorical:
    codes, categories = pd.factorize(np.array(values, dtype=object))
    return pd.Categorical.from_codes(np.repeat(codes, lengths), categories=categories)


def _column(parts: list[np.ndarray | list | None], lengths: list[int]) -> np.ndarray:
    """The parts one after the other, NaN for one that is not there; a list (an outcome in words) makes it a column of objects."""
    if not parts:
        return np.empty(0)
    gap = np.full(max(lengths), np.nan)
    parts = [gap[:length] if part is None else np.fromiter(part, dtype=object, count=length) if isinstance(part, list) else part
             for part, length in zip(parts, lengths, strict=True)]
    return np.concatenate(parts)
