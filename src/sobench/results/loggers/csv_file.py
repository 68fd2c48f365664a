"""`logger=csv`: metrics.csv, the record as a table with a column for every key of any row."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from typing import Any

from sobench.results.loggers.base import Logger
from sobench.results.rundir import RunDirectory
from sobench.system.files import parse_json, write_atomically


class CsvFile(Logger):
    """Rows stay in memory until the next flush. A killed run loses those after its checkpoint, as its record does."""

    def __init__(self, directory: RunDirectory):
        super().__init__(directory)
        self.path = directory.path / "metrics.csv"
        self._columns: list[str] = []
        self._rows: list[dict[str, Any]] = []

    def start(self) -> None:
        self._rows = [parse_json(line) for line in self.directory.metrics.read_bytes().splitlines()]

    def row(self, row: Mapping[str, Any]) -> None:
        self._rows.append(dict(row))

    def flush(self) -> None:
        """Append the rows. A new column rewrites the whole table."""
        columns = list(dict.fromkeys([*self._columns, *(key for row in self._rows for key in row)]))
        if columns != self._columns:
            rows = [*self._written(), *self._rows]
            write_atomically(self.path, self._text(columns, rows, header=True))
        elif self._rows:
            with open(self.path, "ab") as file:
                file.write(self._text(columns, self._rows))
        self._columns, self._rows = columns, []

    def finish(self, summary: Mapping[str, Any]) -> None:
        self.flush()

    def _written(self) -> list[dict[str, Any]]:
        """The rows that this process has written so far, their values as text."""
        if not self._columns:
            return []
        with open(self.path, newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    @staticmethod
    def _text(columns: list[str], rows: list[dict[str, Any]], header: bool = False) -> bytes:
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        if header:
            writer.writeheader()
        writer.writerows(rows)
        return text.getvalue().encode()
