"""`load`: run directories to one long data frame, a row for each row of metrics.jsonl. `table`: to the same, put together by need.

`records` reads the directories, or what was kept of them; `joined` names those that are damaged.
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
    """One long frame of all rows of all runs, a run's rows together, its train rows and eval rows in order of step.

    `paths` is a root, or the run directories; those that do not exist add nothing. Columns: kind, run, cell, seed,
    dataset, model, optimizer, status, reason, the numbers of SUMMARY (NaN for a run that is not over), then every number
    the rows hold (NaN where a row has none). A run that is damaged is named in one warning; its good rows are kept.
    """
    return table(paths).frame()


def table(paths: Iterable[Path] | Path | str) -> Table:
    """The same, of which a column is put together when it is asked for."""
    directories = find(Path(paths)) if isinstance(paths, (str, Path)) else [Path(path) for path in paths]
    return joined(directories, records(directories))


def joined(directories: Sequence[Path | str], found: Sequence[Record], wanted: Wanted = everything) -> Table:
    """The rows of the records of these directories; one warning names those that are damaged."""
    damaged = [
        f"{directory} ({record.damage})" for directory, record in zip(directories, found, strict=True) if record.damage
    ]
    if damaged:
        warnings.warn("damaged runs: " + ", ".join(damaged), stacklevel=3)
    return Table.of([record for record in found if record.identity], wanted)
