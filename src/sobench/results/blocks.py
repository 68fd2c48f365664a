"""The rows of one run as columns: a block for each kind of row. No pandas, no torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain, islice
from operator import itemgetter, lt
from typing import Any, NamedTuple

import numpy as np

from sobench.results.parse import loads
from sobench.system.files import parse_json

_KIND, _STEP = itemgetter("kind"), itemgetter("step")


class Block(NamedTuple):
    """Rows of one kind of one run.

    names: the columns, in the order of their first appearance. numbers: the columns of numbers, float64, NaN for None;
    the arrays may be shared by several blocks, of which this one has `rows` rows from `start` on. words: the other
    columns.
    """

    kind: str
    names: Sequence[str]
    numbers: dict[str, np.ndarray]
    words: dict[str, list[Any]]
    rows: int
    start: int = 0


def read_blocks(text: bytes) -> tuple[list[Block], str | None]:
    """The rows of the bytes of metrics.jsonl, a block for each kind; and the damage. An unfinished last line is
    ignored.
    """
    whole = text[: text.rfind(b"\n") + 1]
    rows, damage = _rows(whole, loads)
    blocks = _blocks(rows)
    if any(block.words for block in blocks):  # json keeps integers of any size, which orjson makes floats
        rows, damage = _rows(whole, parse_json)
        blocks = _blocks(rows)
    return blocks, damage


def _rows(text: bytes, loads: Callable[[bytes], Any]) -> tuple[list[Any], str | None]:
    """The values of the lines, and the damage."""
    try:  # one call: about twice as fast as a call a line
        return loads(b"[%b]" % text.rstrip(b"\n").replace(b"\n", b",")), None
    except ValueError:
        lines = [line for line in text.split(b"\n") if line]
    rows = [row for row in (_parsed(line, loads) for line in lines) if row is not None]
    lost = len(lines) - len(rows)
    return rows, f"{lost} of {len(lines)} lines of metrics.jsonl cannot be read" if lost else None


def _parsed(line: bytes, loads: Callable[[bytes], Any]) -> object | None:
    try:
        return loads(line)
    except ValueError:
        return None


def _blocks(rows: list[Any]) -> list[Block]:
    try:
        by_kind = _by_kind(rows)
    except (KeyError, TypeError):  # a line that is no row
        by_kind = _by_kind([row for row in rows if _is_row(row)])
    return [_block(kind, own) for kind, own in by_kind.items()]


def _is_row(row: Any) -> bool:
    return isinstance(row, dict) and isinstance(row.get("kind"), str) and isinstance(row.get("step"), (int, float))


def _by_kind(rows: list[dict]) -> dict[str, list[dict]]:
    """The rows of each kind, in order of step. Of two of a step the later counts: a resumed run repeats rows."""
    kinds = list(map(_KIND, rows))
    found = {}
    for kind in sorted(set(kinds)):
        own = [row for row, its in zip(rows, kinds, strict=True) if its == kind]
        steps = list(map(_STEP, own))
        if not all(map(lt, steps, islice(steps, 1, None))):
            own = sorted(dict(zip(steps, own, strict=True)).values(), key=_STEP)
        found[kind] = own
    return found


def _block(kind: str, rows: list[dict]) -> Block:
    """The rows of one kind as a block."""
    names = [name for name in rows[0] if name != "kind"]
    if len(set(map(len, rows))) == 1 and len(names) > 1:  # as every row has every column: all columns at once
        cells = chain.from_iterable(map(itemgetter(*names), rows))
        try:
            values = np.fromiter(cells, float, len(rows) * len(names)).reshape(len(rows), -1)
            return Block(kind, names, dict(zip(names, np.ascontiguousarray(values.T), strict=True)), {}, len(rows))
        except (KeyError, TypeError, ValueError, OverflowError):
            pass  # a row has other columns, or a column is not of numbers
    layouts = dict.fromkeys(map(tuple, rows))
    names = [name for name in dict.fromkeys(name for layout in layouts for name in layout) if name != "kind"]
    numbers: dict[str, np.ndarray] = {}
    words: dict[str, list[Any]] = {}
    for name in names:
        cells = _numbers([row.get(name) for row in rows])
        if isinstance(cells, list):
            words[name] = cells
        else:
            numbers[name] = cells
    return Block(kind, names, numbers, words, len(rows))


def _numbers(values: list[Any]) -> np.ndarray | list[Any]:
    """The values as float64; unchanged if they are not all numbers (an outcome in words)."""
    try:
        numbers = np.array(values, dtype=float)  # None becomes NaN
        return numbers if numbers.ndim == 1 else values
    except (TypeError, ValueError, OverflowError):
        return values
