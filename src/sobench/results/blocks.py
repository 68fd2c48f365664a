"""The rows of one run as columns: a block for each kind of row. No pandas, no torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sobench.results.parse import loads
from sobench.system.files import parse_json

_KEY = itemgetter("kind", "step")


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


def read_blocks(path: Path) -> tuple[list[Block], str | None]:
    """The rows of metrics.jsonl, a block for each kind; and the damage. An unfinished last line is ignored."""
    try:
        text = path.read_bytes()
    except OSError:
        return [], None
    lines = [line for line in text[: text.rfind(b"\n") + 1].split(b"\n") if line]
    rows, damage = _rows(lines, loads)
    blocks = _blocks(rows)
    if any(block.words for block in blocks):  # json keeps integers of any size, which orjson makes floats
        rows, damage = _rows(lines, parse_json)
        blocks = _blocks(rows)
    return blocks, damage


def _rows(lines: list[bytes], loads: Callable[[bytes], Any]) -> tuple[list[dict], str | None]:
    """The complete rows and the damage. Of two rows of a kind and step the later counts: a resumed run repeats rows."""
    damage = None
    rows: list[Any]
    try:
        rows = loads(b"[" + b",".join(lines) + b"]")  # one call: about twice as fast as a call a line
    except ValueError:
        parsed = (_parsed(line, loads) for line in lines)
        rows = [row for row in parsed if row is not None]
        damage = f"{len(lines) - len(rows)} of {len(lines)} lines of metrics.jsonl cannot be read"
    try:
        keys = list(map(_KEY, rows))
    except (KeyError, TypeError):  # a line that is no row
        rows = [row for row in rows if isinstance(row, dict) and "kind" in row and "step" in row]
        keys = list(map(_KEY, rows))
    return list(dict(zip(keys, rows, strict=True)).values()), damage


def _parsed(line: bytes, loads: Callable[[bytes], Any]) -> object | None:
    try:
        return loads(line)
    except ValueError:
        return None


def _blocks(rows: list[dict]) -> list[Block]:
    kinds: dict[str, list[dict]] = {}
    for row in rows:
        kinds.setdefault(row["kind"], []).append(row)
    return [_block(kind, sorted(kinds[kind], key=itemgetter("step"))) for kind in sorted(kinds)]


def _block(kind: str, rows: list[dict]) -> Block:
    """The rows of one kind as a block."""
    names = [name for name in rows[0] if name != "kind"]
    if len(set(map(len, rows))) == 1 and len(names) > 1:  # as every row has every column: all columns at once
        try:
            values = np.array(list(map(itemgetter(*names), rows)), dtype=float)
            if values.ndim == 2:
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
