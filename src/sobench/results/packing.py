"""The file format of the cache of records: numbers column by column as float64, everything else as JSON. No pickle.

    <size of the head, its checksum> head columns
    head     JSON: one line about the file, then one line for each run
    columns  for each layout of rows (kind and columns) every column of numbers, the runs one after the other

Each column has its own checksum, so that a reader reads the wanted columns only.
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
from sobench.system.files import parse_json
from sobench.system.heartbeat import Holder

Key = list[list[int]]
Kept = dict[str, tuple[Key, Record]]
"""The key and the record of each run directory, by its path relative to the folder of the runs."""
START = struct.Struct("<QI")


@dataclass
class Layout:
    """Rows of one kind with the same columns, of any number of runs. words: the columns that are not numbers."""

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
    """The bytes of a file. code: a version, which `unpack` compares."""
    layouts: dict[str, tuple[int, Layout]] = {}
    lines = []
    for name, (key, record) in kept.items():
        blocks = []
        for block in record.blocks:
            number, layout = _layout(layouts, block)
            layout.add(block)
            blocks.append([number, block.rows, json.dumps(block.words) if block.words else ""])
        state = record.state
        line = [
            name,
            key,
            [state.status, state.reason, state.step, state.epoch, state.seconds],
            state.holder and astuple(state.holder),
            state.summary,
            record.identity,
            blocks,
            record.environment,
            record.damage,
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
    """The records, with axes and wanted columns; none of another version. A damaged file raises any exception."""
    size, checksum = START.unpack(file.read(START.size))
    first, *lines = _checked(file.read(size), size, checksum).split(b"\n")
    version, about = loads(first)
    if version != code:
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
        name, key, position, holder, summary, identity, of_run, environment, damage = loads(line)
        status, reason, step, epoch, seconds = position
        blocks = []
        for number, rows, text in of_run:
            kind, names, numbers, words = layouts[number]
            cells = parse_json(text) if words else {}  # json keeps integers of any size
            own = {word: cells[word] for word in words} if words else {}
            blocks.append(Block(kind, names, numbers, own, rows, places[number]))
            places[number] += rows
        state = State(status, reason, step, epoch, seconds, holder and Holder(*holder), summary)
        kept[name] = key, Record(state, identity, blocks, environment, damage)
    return kept


def _columns(file: BinaryIO, checksums: Mapping[str, int], rows: int, asked: set[str]) -> dict[str, np.ndarray]:
    """The asked columns of the layout at the file's position, which moves to the end of the layout."""
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
