"""Full numeric arrays of MATLAB files of version 5 (The MathWorks, "MAT-File Format").

A file is a header of 128 bytes and an element for each variable; an element is its type and its number of bytes, and
then these bytes. What an element announces is compared with the bytes that are there. scipy.io compares nothing: a
damaged type ends the process.
"""

from __future__ import annotations

import math
import mmap
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sobench.data.reading import parsing
from sobench.errors import Failure

if TYPE_CHECKING:
    import numpy as np

MATRIX, COMPRESSED = 14, 15
TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
"""Type of an element -> type of its numbers in numpy, without the byte order."""
CLASSES = {1: "a cell array", 2: "a struct", 3: "an object", 4: "text", 5: "sparse"}
"""Class of an array -> its name, where it is not one of numbers; 6 to 15 are full arrays of numbers."""
COMPLEX = 0x800
HEADER, HEAD = 128, 4096
"""The bytes of a file's header, and those of a compressed variable that hold its name, its shape and its type."""


@dataclass(frozen=True)
class Variable:
    """A variable of a file, before its numbers are read.

    kind: "numbers", or what it is instead. data: its bytes in the file, compressed or not; start and end: the place of
    its numbers in the uncompressed bytes. dtype: the type of its numbers.
    """

    shape: tuple[int, ...]
    kind: str
    data: memoryview
    compressed: bool
    start: int = 0
    end: int = 0
    dtype: str = ""


def shapes(file: Path) -> dict[str, tuple[int, ...]]:
    """The shape of each variable, by its name. Raises Failure for a file that cannot be read."""
    return {name: variable.shape for name, variable in _variables(file).items()}


def read(file: Path, key: str, *, most: int) -> np.ndarray:
    """An array of numbers. Raises Failure for a damaged file, another kind of variable, or more than `most` numbers."""
    import numpy as np

    variable = _variables(file)[key]
    size = math.prod(variable.shape)
    if variable.kind != "numbers":
        raise Failure(f"{file}: {key} is {variable.kind}; allowed: a full array of real numbers")
    if size > most:
        raise Failure(f"{file}: {key} has shape {list(variable.shape)}; allowed: up to {most:,} numbers")
    with parsing(f"{file} is not a MATLAB file"):
        content = _decompressed(variable, key) if variable.compressed else variable.data
        numbers = np.frombuffer(content[variable.start : variable.end], variable.dtype)
        return numbers.astype(numbers.dtype.newbyteorder("=")).reshape(variable.shape, order="F")


def _variables(file: Path) -> dict[str, Variable]:
    """The variables by their names. Raises Failure for a damaged file or one of another version."""
    found: dict[str, Variable] = {}
    with parsing(f"{file} is not a MATLAB file"):
        with file.open("rb") as stream:
            data = memoryview(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ))
        order = {b"IM": "<", b"MI": ">"}.get(bytes(data[126:128]))
        version = struct.unpack(f"{order}H", data[124:126])[0] >> 8 if order else 0
        if version == 2:
            raise Failure(
                f"{file} is a MATLAB file of version 7.3 (HDF5), which is not read; save it with -v7 in MATLAB"
            )
        if order is None or version != 1:
            raise ValueError("its header is not that of version 5")
        for name, variable in _elements(data, order):
            if name in found:
                raise ValueError(f"{name} is there twice")
            found[name] = variable
    return found


def _elements(data: memoryview, order: str) -> Iterator[tuple[str, Variable]]:
    place = HEADER
    while place < len(data):
        kind, start, end, _ = _element(data, place, order)
        inside = data[start:end]
        if kind == COMPRESSED:
            head = memoryview(zlib.decompressobj().decompress(inside[: 2 * HEAD], HEAD))
            yield from _variable(head, order, inside)
        else:
            yield from _variable(data[place:end], order)
        place = end


def _element(data: memoryview, place: int, order: str, *, partial: bool = False) -> tuple[int, int, int, int]:
    """(type, start, end, next) of an element: the place of its bytes, and that of the next element.

    partial: whether `data` may end before the element does. Raises ValueError if it must not and does.
    """
    if place + 8 > len(data):
        raise ValueError(f"it ends at byte {place} of a variable")
    kind, size = struct.unpack(f"{order}II", data[place : place + 8])
    small = kind >> 16  # the size of up to four bytes, which follow at once
    start, size, kind = (place + 4, small, kind & 0xFFFF) if small else (place + 8, size, kind)
    end = start + size
    if (small and size > 4) or (end > len(data) and not partial):
        raise ValueError(f"an element announces {size:,} bytes, and {max(0, len(data) - start):,} are there")
    return kind, start, end, place + 8 if small else end + -size % 8


def _variable(head: memoryview, order: str, packed: memoryview | None = None) -> Iterator[tuple[str, Variable]]:
    """The name and the variable of an element; nothing for a kind of variable without a name (functions).

    head: its bytes, or the first of them if `packed` has the compressed ones.
    """
    kind, start, end, _ = _element(head, 0, order, partial=packed is not None)
    if kind != MATRIX:
        raise ValueError(f"a variable has the type {kind}; allowed: {MATRIX}")
    _, flags, _, place = _element(head, start, order)
    (word,) = struct.unpack(f"{order}I", head[flags : flags + 4])
    number = word & 0xFF
    if number not in range(1, 16):
        return
    _, first, last, place = _element(head, place, order)
    shape = struct.unpack(f"{order}{(last - first) // 4}i", head[first:last])
    _, first, last, place = _element(head, place, order)
    name = str(head[first:last], "ascii")
    data = head if packed is None else packed
    named = CLASSES.get(number, "complex" if word & COMPLEX else "numbers")
    if named != "numbers":
        yield name, Variable(shape, named, data, packed is not None)
        return
    code, first, last, _ = _element(head, place, order, partial=packed is not None)
    if code not in TYPES or min(shape, default=0) < 0 or last > end:
        raise ValueError(f"{name} has the shape {list(shape)}, numbers of type {code}, and {end - first:,} bytes")
    dtype = f"{order}{TYPES[code]}"
    if last - first != math.prod(shape) * int(dtype[-1]):
        raise ValueError(f"{name} has the shape {list(shape)} and {last - first:,} bytes of type {dtype}")
    yield name, Variable(shape, named, data, packed is not None, first, last, dtype)


def _decompressed(variable: Variable, key: str) -> memoryview:
    """The bytes up to the end of the numbers; no more is decompressed. Raises ValueError, zlib.error."""
    stream = zlib.decompressobj()
    content = stream.decompress(variable.data, variable.end)
    rest = stream.decompress(stream.unconsumed_tail, HEAD)  # what fills the last eight bytes, then the checksum
    if len(content) != variable.end or len(rest) >= 8 or not stream.eof:
        raise ValueError(f"{key} has {len(content) + len(rest):,} bytes or more; allowed: {variable.end:,}")
    return memoryview(content)
