"""The rows of many runs, whose columns are assembled when they are asked for.

A column of 10,000 runs of 200 rows is 16 MB. Most reports need one or two columns of all rows, and others of a few runs
only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property

import numpy as np
import pandas as pd

from sobench.results.blocks import Block
from sobench.results.record import AXES, IDENTITY, MEASURED, SUMMARY, Record, Wanted, everything

_ABOUT = (*IDENTITY[:3], "seed", *IDENTITY[3:])
"""The columns that identify a row, in their order."""


class Table:
    """The rows of records, block after block, read like a data frame: `table[name]`, `name in table`, `len(table)`.

    The columns are those that identify a row, the axes, and the wanted ones. A number is NaN in a row without it. A
    column with words is one of objects.
    """

    def __init__(self, rows: Sequence[tuple[Record, Block]], wanted: Wanted = everything):
        self._rows, self._wanted = rows, wanted
        self._lengths = np.array([block.rows for _, block in rows], dtype=int)
        self._found: dict[str, pd.Series] = {}
        self._kinds: dict[str | None, Table] = {None: self}

    @classmethod
    def of(cls, records: Iterable[Record], wanted: Wanted = everything) -> Table:
        """All rows of the records."""
        return cls([(record, block) for record in records for block in record.blocks], wanted)

    def of_kind(self, kind: str | None) -> Table:
        """The rows of one kind; of all kinds for None."""
        if kind not in self._kinds:
            self._kinds[kind] = Table(
                [(record, block) for record, block in self._rows if block.kind == kind], self._wanted
            )
        return self._kinds[kind]

    def of_runs(self, runs: Iterable[str]) -> Table:
        """The rows of these runs, in the order of the table."""
        places = sorted(place for run in runs for place in self._places.get(run, ()))
        return Table([self._rows[place] for place in places], self._wanted)

    def rows_of(self, run: str) -> np.ndarray | None:
        """The numbers of the rows of a run in the columns; None for a run without rows."""
        blocks = [np.arange(self._starts[place], self._starts[place + 1]) for place in self._places.get(run, ())]
        return np.concatenate(blocks) if blocks else None

    def rows_by_run(self, runs: Iterable[str]) -> np.ndarray:
        """The numbers of the rows of these runs [runs, most rows]; -1 beyond the last of a run."""
        rows = [self.rows_of(run) for run in runs]
        found = np.full((len(rows), max((len(own) for own in rows if own is not None), default=0)), -1)
        for place, own in enumerate(rows):
            if own is not None:
                found[place, : len(own)] = own
        return found

    def most(self, counted: np.ndarray) -> int:
        """The largest number of rows of one run among the counted ones, a flag for each row."""
        return int(np.bincount(self["run"].cat.codes[counted]).max(initial=0))

    @property
    def ordered(self) -> bool:
        """Whether the rows of each run are one block, and therefore in order of step."""
        return len(self._places) == len(self._rows)

    @property
    def index(self) -> pd.RangeIndex:
        return pd.RangeIndex(len(self))

    def frame(self) -> pd.DataFrame:
        """All columns."""
        return pd.DataFrame({name: self[name] for name in self}, copy=False)

    def __len__(self) -> int:
        return int(self._lengths.sum())

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __getitem__(self, name: str) -> pd.Series:
        if name not in self._names:
            raise KeyError(name)
        if name not in self._found:
            self._found[name] = pd.Series(self._column(name), copy=False)
        return self._found[name]

    @cached_property
    def _starts(self) -> np.ndarray:
        """The number of the first row of each block, and that of all rows."""
        return np.append(0, np.cumsum(self._lengths))

    @cached_property
    def _names(self) -> dict[str, None]:
        """All columns; those of the rows in the order of their first appearance."""
        layouts = dict.fromkeys(tuple(block.names) for _, block in self._rows)
        names = (name for layout in layouts for name in layout)
        measured = (name for name in MEASURED if any(name in record.state.summary for record, _ in self._rows))
        wanted = filter(self._wanted, (*SUMMARY, *measured))
        return dict.fromkeys([*_ABOUT, *wanted, *AXES, *filter(self._wanted, names)])

    @cached_property
    def _places(self) -> dict[str, list[int]]:
        places: dict[str, list[int]] = {}
        for place, (record, _) in enumerate(self._rows):
            places.setdefault(record.identity["run"], []).append(place)
        return places

    def _column(self, name: str) -> np.ndarray | pd.Categorical:
        if name in IDENTITY:
            return _repeated([_identity(name, record, block) for record, block in self._rows], self._lengths)
        if name == "seed":
            return np.repeat(np.array([record.identity[name] for record, _ in self._rows], dtype=int), self._lengths)
        if name in (*SUMMARY, *MEASURED):
            numbers = [_number(record.state.summary.get(name)) for record, _ in self._rows]
            return np.repeat(np.array(numbers, dtype=float), self._lengths)
        return np.concatenate([_cells(name, block) for _, block in self._rows] or [np.empty(0)])


def _identity(name: str, record: Record, block: Block) -> str:
    if name == "kind":
        return block.kind
    return getattr(record.state, name) if name in ("status", "reason") else record.identity[name]


def _repeated(values: list[str | None], lengths: np.ndarray) -> pd.Categorical:
    codes, categories = pd.factorize(np.array(values, dtype=object))
    one_each = pd.Categorical.from_codes(codes, categories=categories)
    return pd.Categorical.from_codes(np.repeat(one_each.codes, lengths), dtype=one_each.dtype, validate=False)


def _number(value: object) -> float:
    return float(value) if isinstance(value, (int, float)) else float("nan")


def _cells(name: str, block: Block) -> np.ndarray:
    if name in block.words:
        return np.fromiter(block.words[name], dtype=object, count=block.rows)
    if name in block.numbers:
        return block.numbers[name][block.start : block.start + block.rows]
    return np.full(block.rows, np.nan)
