"""`load`: run directories to one long frame, a row for each row of metrics.jsonl.

`records` reads the directories, or what was kept of them; `assemble` joins them.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from sobench import garbage
from sobench.results.blocks import Block
from sobench.results.reading import records
from sobench.results.record import AXES, IDENTITY, SUMMARY, Record, Wanted, everything


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


def joined(directories: Sequence[Path | str], found: Sequence[Record], wanted: Wanted = everything) -> pd.DataFrame:
    """The frame of the records of these directories; one warning names those that are damaged."""
    damaged = [f"{directory} ({record.damage})" for directory, record in zip(directories, found, strict=True) if record.damage]
    if damaged:
        warnings.warn("damaged runs: " + ", ".join(damaged), stacklevel=3)
    return assemble([record for record in found if record.identity], wanted)


@garbage.put_off()
def assemble(records: list[Record], wanted: Wanted = everything) -> pd.DataFrame:
    """One frame of all records; of their numbers the axes and the columns that are wanted."""
    of, blocks = zip(*[(record, block) for record in records for block in record.blocks]) if records else ((), ())
    lengths = np.array([block.rows for block in blocks], dtype=int)
    data: dict[str, object] = {}
    for name in (*IDENTITY[:3], "seed", *IDENTITY[3:]):
        if name == "seed":
            data[name] = np.repeat(np.array([record.identity[name] for record in of], dtype=int), lengths)
        else:
            data[name] = _repeated(_about(name, of, blocks), lengths)
    for name in filter(wanted, SUMMARY):
        data[name] = np.repeat(np.array([_number(record.state.summary.get(name)) for record in of], dtype=float), lengths)
    rows = Rows(blocks, lengths)
    for name in dict.fromkeys([*AXES, *filter(wanted, rows.names)]):
        if name not in data:  # a row does not rename its run
            data[name] = rows.column(name)
    return pd.DataFrame(data, copy=False)


def _about(name: str, records: Sequence[Record], blocks: Sequence[Block]) -> list:
    if name == "kind":
        return [block.kind for block in blocks]
    return [getattr(record.state, name) if name in ("status", "reason") else record.identity[name] for record in records]


def _repeated(values: list, lengths: np.ndarray) -> pd.Categorical:
    codes, categories = pd.factorize(np.array(values, dtype=object))
    one_each = pd.Categorical.from_codes(codes, categories=categories)
    return pd.Categorical.from_codes(np.repeat(one_each.codes, lengths), dtype=one_each.dtype, validate=False)


def _number(value: object) -> float:
    return float(value) if isinstance(value, (int, float)) else float("nan")


class Rows:
    """The rows of blocks, one block after the other, whose numbers lie in tables that blocks share."""

    def __init__(self, blocks: Sequence[Block], lengths: np.ndarray):
        self._blocks, self._lengths, self._ends = blocks, lengths, np.cumsum(lengths)
        self._tables = list({id(block.numbers): block.numbers for block in blocks}.values())
        place = {id(table): index for index, table in enumerate(self._tables)}
        tables = np.array([place[id(block.numbers)] for block in blocks], dtype=int)
        starts = np.array([block.start for block in blocks], dtype=int)
        self._sizes = np.zeros(len(self._tables), dtype=int)
        np.maximum.at(self._sizes, tables, starts + lengths)
        starts += (np.cumsum(self._sizes) - self._sizes)[tables]
        self._unordered = np.empty(self._sizes.sum())  # for a column at a time
        self._places = np.arange(lengths.sum()) + np.repeat(starts - (self._ends - lengths), lengths)

    @property
    def names(self) -> list[str]:
        """Of all columns, as they first appear."""
        layouts = dict.fromkeys(tuple(block.names) for block in self._blocks)
        return list(dict.fromkeys(name for names in layouts for name in names))

    def column(self, name: str) -> np.ndarray:
        """NaN for a block that has it not; words (an outcome) make it a column of objects."""
        if not self._blocks:
            return np.empty(0)
        gap = np.full(self._sizes.max(), np.nan)
        parts = [table.get(name, gap)[:size] for table, size in zip(self._tables, self._sizes, strict=True)]
        found = np.concatenate(parts, out=self._unordered)[self._places]
        said = [(end, block.words[name]) for end, block in zip(self._ends, self._blocks, strict=True) if name in block.words]
        found = found.astype(object) if said else found
        for end, words in said:
            found[end - len(words) : end] = np.fromiter(words, dtype=object, count=len(words))
        return found
