"""values.csv and curves.csv: the numbers of a report's runs, from which the report can be made again.

values.csv has a line for each number of each run: the parts of the report that use it, the metric, the place where it
is taken, and the run. curves.csv has a line for each column of each run: the places of its rows and its numbers there,
each as a list with blanks. A name that no run has a number of has one line, without a run.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sobench.report.numbers import DIGITS, Number, Numbers, Rows

if TYPE_CHECKING:
    from sobench.config.run import Run

VALUES, CURVES = "values.csv", "curves.csv"
_OF_VALUES = ("used_by", "metric", "at", "rows", "optimizer", "dataset", "seed", "run", "value")
_OF_CURVES = ("rows", "which", "column", "run", "places", "values")


def as_csv(numbers: Numbers, runs: list[Run]) -> dict[str, str]:
    """The contents of the files, by name; none if the numbers were not kept."""
    if not numbers.kept:
        return {}
    about = {run.id: (run.label("optimizer"), run.label("dataset"), run.seed) for run in runs}
    return {VALUES: _text(_OF_VALUES, _values(numbers, about)), CURVES: _text(_OF_CURVES, _curves(numbers))}


def read(folder: Path) -> Numbers:
    """The numbers that were written into a folder. Raises OSError, or ValueError for files that are damaged."""
    numbers = Numbers(None)
    for row in _rows(folder / VALUES, _OF_VALUES):
        name = Number(row["metric"], row["at"], row["rows"])
        of_runs = numbers.values.setdefault(name, {})
        if row["run"]:
            of_runs[row["run"]] = float(row["value"])
    for row in _rows(folder / CURVES, _OF_CURVES):
        rows = Rows(row["rows"], row["which"])
        numbers.asked[rows, row["column"]] = None
        if row["run"]:
            places, values = _places(row["places"]), np.array(row["values"].split(), dtype=float)
            numbers.columns.setdefault(rows, {}).setdefault(row["run"], {})[row["column"]] = places, values
    return numbers


def _values(numbers: Numbers, about: dict[str, tuple[str, str, int]]) -> Iterator[tuple]:
    for name, of_runs in numbers.values.items():
        at = (name.metric, name.at, name.rows)
        for run, value in of_runs.items():
            yield "; ".join(numbers.uses[name, run]), *at, *about[run], run, repr(value)
        if not of_runs:
            yield "", *at, "", "", "", "", ""


def _curves(numbers: Numbers) -> Iterator[tuple]:
    for rows, of_runs in numbers.columns.items():
        for run, columns in of_runs.items():
            for name, (places, values) in columns.items():
                yield rows.kind, rows.which, name, run, _listed(places), " ".join(f"{v:.{DIGITS}g}" for v in values)
    for rows, name in numbers.asked:
        if not any(name in columns for columns in numbers.columns.get(rows, {}).values()):
            yield rows.kind, rows.which, name, "", "", ""


def _listed(places: np.ndarray) -> str:
    """ "0:12:3 10" for 0, 3, 6, 9 and 10: the longest beginning with equal steps as start:stop:step, then the rest."""
    whole = places.astype(int)
    if len(whole) < 3:
        return " ".join(map(str, whole))
    step = int(whole[1] - whole[0])
    uneven = np.flatnonzero(np.diff(whole) != step)
    count = int(uneven[0]) + 1 if len(uneven) else len(whole)
    return " ".join([f"{whole[0]}:{whole[count - 1] + step}:{step}", *map(str, whole[count:])])


def _places(text: str) -> np.ndarray:
    found: list[int] = []
    for word in text.split():
        found += range(*map(int, word.split(":"))) if ":" in word else [int(word)]
    return np.array(found, dtype=float)


def _text(head: tuple[str, ...], lines: Iterator[tuple]) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(lines)
    return file.getvalue()


def _rows(path: Path, head: tuple[str, ...]) -> Iterator[dict[str, str]]:
    csv.field_size_limit(1 << 30)  # a line holds all points of a run
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        if tuple(reader.fieldnames or ()) != head:
            raise ValueError(
                f"{path}: got the columns {', '.join(reader.fieldnames or ())}, allowed: {', '.join(head)}"
            )
        yield from reader
