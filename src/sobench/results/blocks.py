"""The rows of one run as columns: a block for each kind of row. No pandas, no torch."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np

from sobench.results.parse import loads


@dataclass(frozen=True)
class Block:
    """Rows of one kind of one run. names: its columns, as they first appear; numbers: those of numbers, float64, None as NaN,
    which may hold more rows: those of this block are `rows` from `start` on; words: the others."""

    kind: str
    names: Sequence[str]
    numbers: dict[str, np.ndarray]
    words: dict[str, list]
    rows: int
    start: int = 0


def read_blocks(path: Path) -> tuple[list[Block], str | None]:
    """The rows of metrics.jsonl, a block for each kind, and the damage. A last line without its end is ignored."""
    try:
        text = path.read_bytes()
    except OSError:
        return [], None
    lines = [line for line in text[: text.rfind(b"\n") + 1].split(b"\n") if line]
    rows, damage = _rows(lines, loads)
    blocks = _blocks(rows)
    if any(block.words for block in blocks):  # where all are not made floats, an integer of any size stays one
        rows, damage = _rows(lines, json.loads)
        blocks = _blocks(rows)
    return blocks, damage


def _rows(lines: list[bytes], loads: Callable[[bytes], Any]) -> tuple[list[dict], str | None]:
    """Whole rows, a step of a kind once (the later: a resumed run may have written it again), and the damage."""
    damage = None
    try:
        rows = loads(b"[" + b",".join(lines) + b"]")  # one call: about twice as fast as a call a line
    except ValueError:
        rows = [row for line in lines if (row := _parsed(line, loads)) is not None]
        damage = f"{len(lines) - len(rows)} of {len(lines)} lines of metrics.jsonl cannot be read"
    good = {
        (row["kind"], row["step"]): row for row in rows if isinstance(row, dict) and "kind" in row and "step" in row
    }
    return list(good.values()), damage


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
    """Its columns are in the order in which they first appear."""
    layouts = dict.fromkeys(map(tuple, rows))
    names = [name for name in dict.fromkeys(name for layout in layouts for name in layout) if name != "kind"]
    if len(layouts) == 1 and len(names) > 1:  # every row has them all: at once
        try:
            values = np.array(list(map(itemgetter(*names), rows)), dtype=float)
            if values.ndim == 2:
                return Block(kind, names, dict(zip(names, np.ascontiguousarray(values.T), strict=True)), {}, len(rows))
        except (TypeError, ValueError, OverflowError):
            pass  # one of them is no number: column by column
    columns = {name: _numbers([row.get(name) for row in rows]) for name in names}
    words = {name: cells for name, cells in columns.items() if isinstance(cells, list)}
    return Block(kind, names, {name: cells for name, cells in columns.items() if name not in words}, words, len(rows))


def _numbers(values: list) -> np.ndarray | list:
    """The values as they are, where they are not numbers (an outcome in words)."""
    try:
        numbers = np.array(values, dtype=float)  # None becomes NaN
        return numbers if numbers.ndim == 1 else values
    except (TypeError, ValueError, OverflowError):
        return values
