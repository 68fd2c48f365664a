"""Records as the bytes of a file of the cache, and back: the numbers column by column as they lie in memory, the rest as JSON.

    <size of the head, its checksum> head columns
    head     JSON, a line for all and one for each run
    columns  of each layout of rows (kind and columns) every column of numbers, its runs one after the other, float64

Each column has a checksum of its own, so that only those that are wanted are read. No pickle.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Mapping
from dataclasses import astuple, dataclass, field
from typing import BinaryIO

import numpy as np

from sobench.results.blocks import Block
from sobench.results.parse import loads
from sobench.results.record import AXES, Record, Wanted
from sobench.results.state import State
from sobench.system.heartbeat import Holder

Key = list[list[int]]
Kept = dict[str, tuple[Key, Record]]
"""By run directory, relative to the folder of the runs."""
START = struct.Struct("<QI")


@dataclass
class Layout:
    """Rows of one kind that have the same columns. words: those that are not numbers."""

    kind: str
    names: list[str]
    words: list[str]
    rows: int = 0
    parts: dict[str, list[np.ndarray]] = field(default_factory=dict)

    def add(self, block: Block) -> None:
        for name, cells in block.numbers.items():
            self.parts.setdefault(name, []).append(cells[block.start : block.start + block.rows])
        self.rows += block.rows

    def columns(self) -> dict[str, bytes]:
        return {name: np.concatenate(parts).astype("<f8").tobytes() for name, parts in self.parts.items()}


def pack(kept: Mapping[str, tuple[Key, Record]], code: str) -> bytes:
    """A file's bytes. code: what `unpack` has to be asked for."""
    layouts: dict[str, tuple[int, Layout]] = {}
    lines = []
    for name, (key, found) in kept.items():
        blocks = []
        for block in found.blocks:
            number, layout = _layout(layouts, block)
            layout.add(block)
            blocks.append([number, block.rows, json.dumps(block.words) if block.words else ""])
        stood = found.state
        line = [
            name,
            key,
            [stood.status, stood.reason, stood.step, stood.epoch, stood.seconds],
            stood.holder and astuple(stood.holder),
            stood.summary,
            found.identity,
            blocks,
            found.environment,
            found.damage,
        ]
        lines.append(json.dumps(line))
    columns = [layout.columns() for _, layout in layouts.values()]
    about = [
        [layout.kind, layout.names, layout.words, layout.rows, {name: zlib.crc32(cells) for name, cells in own.items()}]
        for (_, layout), own in zip(layouts.values(), columns, strict=True)
    ]
    head = "\n".join([json.dumps([code, about]), *lines]).encode()
    return b"".join(
        [START.pack(len(head), zlib.crc32(head)), head, *(cells for own in columns for cells in own.values())]
    )


def _layout(layouts: dict[str, tuple[int, Layout]], block: Block) -> tuple[int, Layout]:
    about = block.kind, list(block.names), list(block.words)
    return layouts.setdefault(json.dumps(about), (len(layouts), Layout(*about)))


def unpack(file: BinaryIO, code: str, wanted: Wanted) -> Kept:
    """The records; of their rows the axes and the columns that are wanted. Raises whatever damage leads to."""
    size, checksum = START.unpack(file.read(START.size))
    first, *lines = _checked(file.read(size), size, checksum).split(b"\n")
    found, about = loads(first)
    if found != code:
        return {}
    layouts = []
    for kind, names, words, rows, checksums in about:
        asked = {name for name in names if name in AXES or wanted(name)}
        numbers = _columns(file, checksums, rows, asked)
        layouts.append(
            (kind, tuple(filter(asked.__contains__, names)), numbers, list(filter(asked.__contains__, words)))
        )
    places = [0] * len(layouts)
    kept = {}
    for line in lines:
        name, key, stands, holder, summary, identity, of_run, environment, damage = loads(line)
        blocks = []
        for number, rows, text in of_run:
            kind, names, numbers, words = layouts[number]
            said = json.loads(text) if words else {}  # by json an integer of any size stays one
            blocks.append(Block(kind, names, numbers, {word: said[word] for word in words}, rows, places[number]))
            places[number] += rows
        kept[name] = (
            key,
            Record(State(*stands, holder and Holder(*holder), summary), identity, blocks, environment, damage),
        )
    return kept


def _columns(file: BinaryIO, checksums: Mapping[str, int], rows: int, asked: set[str]) -> dict[str, np.ndarray]:
    """Those of a layout that are asked for, from here on in the file; it is left behind them all."""
    start, size, found = file.tell(), 8 * rows, {}
    for place, (name, checksum) in enumerate(checksums.items()):
        if name in asked:
            file.seek(start + place * size)
            found[name] = np.frombuffer(_checked(file.read(size), size, checksum), "<f8")
    file.seek(start + len(checksums) * size)
    return found


def _checked(data: bytes, size: int, checksum: int) -> bytes:
    if len(data) != size or zlib.crc32(data) != checksum:
        raise ValueError("not the bytes that were written")
    return data
