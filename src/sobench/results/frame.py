"""Run directories as one long data frame (`load`), with a row for each row of metrics.jsonl.

`table` assembles the columns of the same frame at their first use.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from sobench.results.reading import records
from sobench.results.record import Record, Wanted, everything
from sobench.results.row_table import Table


def find(root: Path) -> list[Path]:
    """Every run directory under `root` (or `root` itself, if it is one), in a stable order."""
    root = Path(root)
    return [root] if (root / "run.json").exists() else sorted(root.glob("*/seed-*"))


def load(paths: Iterable[Path] | Path | str) -> pd.DataFrame:
    """All rows of all runs as one long frame: the rows of a run together, its train rows and its eval rows in order of
    step.

    paths: a root, or run directories; those that do not exist add nothing. Columns: kind, run, cell, seed, dataset,
    model, optimizer, status, reason, the numbers of SUMMARY (NaN for a run that is not over), then every number of the
    rows (NaN in a row without it). One warning names the damaged runs; their readable rows are kept.
    """
    return table(paths).frame()


def table(paths: Iterable[Path] | Path | str) -> Table:
    """The rows of `load` as a Table, which assembles a column when it is asked for."""
    directories = find(Path(paths)) if isinstance(paths, (str, Path)) else [Path(path) for path in paths]
    return joined(directories, records(directories))


def joined(directories: Sequence[Path | str], records: Sequence[Record], wanted: Wanted = everything) -> Table:
    """The rows of the records of these directories. One warning names the damaged ones."""
    damaged = [
        f"{directory} ({record.damage})"
        for directory, record in zip(directories, records, strict=True)
        if record.damage
    ]
    if damaged:
        warnings.warn("damaged runs: " + ", ".join(damaged), stacklevel=3)
    return Table.of([record for record in records if record.identity], wanted)
