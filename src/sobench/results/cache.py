"""Records that were read before: runs/.cache/<shard>.npz, numbers as they lie in memory, the rest as JSON. No pickle.

A run belongs to a shard by the name of its cell. A kept record holds for as long as the files it was made from are what they
were: size, times and inode of each; a run that is not over is never kept. A file that is damaged, foreign, or of another version
of this code counts for nothing and is written anew. Each is replaced as a whole: of two processes that write it, one remains.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import time
import zlib
from collections.abc import Mapping
from dataclasses import astuple
from pathlib import Path

import numpy as np

from sobench.results.heartbeat import Holder
from sobench.results.record import Record
from sobench.results.state import State

SHARDS = 64
SETTLED = 2.0  # seconds: a file changed since may change again within one tick of its clock
FILES = ("summary.json", "metrics.jsonl", "run.json", "environment.json")
"""What a record is made from."""
_SOURCES = [Path(__file__).with_name(f"{name}.py").read_bytes() for name in ("cache", "record", "state")]
CODE = hashlib.sha256(b"".join(_SOURCES)).hexdigest()
"""Of what makes a record."""

Key = list[list[int]]
Kept = dict[str, tuple[Key, Record]]
"""By run directory, relative to the folder of the runs."""


def shard_of(name: str) -> int:
    """The shard of <cell>/<seed>."""
    return zlib.crc32(name.partition("/")[0].encode()) % SHARDS


def key(directory: str) -> Key:
    """What would be different if a file of the run directory was written again: of each its size, times and inode."""
    return [_stamp(f"{directory}/{name}") for name in FILES]


def _stamp(path: str) -> list[int]:
    try:
        found = os.stat(path)
    except OSError:
        return []
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino]


def lasting(key: Key, found: Record) -> bool:
    """Whether the record may be kept: the run is over, and none of its files was changed just now."""
    settled = time.time_ns() - SETTLED * 1e9
    return found.state.finished and all(not stamp or stamp[1] < settled for stamp in key)


def path(root: str, shard: int) -> Path:
    return Path(root, ".cache", f"{shard:02x}.npz")


def load(root: str, shard: int) -> Kept:
    """What is kept; nothing where there is no file that can be used."""
    try:
        return unpack(path(root, shard).read_bytes())
    except Exception:  # whatever a file that is not ours, or not whole, leads to
        return {}


def save(root: str, shard: int, kept: Kept) -> None:
    """Replace the file. Where the folder cannot be written, nothing is kept."""
    place = path(root, shard)
    part = place.with_name(f".{place.name}.{os.getpid()}")
    try:
        place.parent.mkdir(exist_ok=True)
        part.write_bytes(pack(kept))
        os.replace(part, place)  # not waiting for the disk: a half-written file is found out by its checksum
    except OSError:
        pass


def pack(kept: Mapping[str, tuple[Key, Record]]) -> bytes:
    """A file's bytes: {"head": JSON, "values": every column of numbers, one after the other}."""
    layouts: dict[str, int] = {}
    runs, values = [], []
    for name, (stamps, found) in kept.items():
        blocks = []
        for kind, columns in found.blocks:
            words = {column: cells for column, cells in columns.items() if isinstance(cells, list)}
            layout = layouts.setdefault(json.dumps([kind, list(columns)]), len(layouts))
            blocks.append([layout, len(columns["step"]), words])
            values += [cells for cells in columns.values() if not isinstance(cells, list)]
        runs.append([name, stamps, astuple(found.state), found.identity, found.environment, found.damage, blocks])
    head = json.dumps({"code": CODE, "layouts": list(map(json.loads, layouts)), "runs": runs}).encode()
    file = io.BytesIO()
    np.savez(file, head=np.frombuffer(head, np.uint8), values=np.concatenate(values) if values else np.empty(0))
    return file.getvalue()


def unpack(data: bytes) -> Kept:
    """Raises whatever damage leads to."""
    with np.load(io.BytesIO(data), allow_pickle=False) as file:
        head, values = json.loads(file["head"].tobytes()), file["values"]
    if head["code"] != CODE:
        return {}
    kept, place = {}, 0
    for name, stamps, stood, identity, environment, damage, blocks in head["runs"]:
        read = []
        for layout, rows, words in blocks:
            kind, names = head["layouts"][layout]
            numbers = len(names) - len(words)
            block = iter(values[place : place + numbers * rows].reshape(numbers, rows))
            read.append((kind, {column: words[column] if column in words else next(block) for column in names}))
            place += numbers * rows
        *stands, holder, summary = stood
        found = State(*stands, holder and Holder(*holder), summary)
        kept[name] = stamps, Record(found, identity, read, environment, damage)
    return kept


def size(key: Key) -> int:
    """Bytes of metrics.jsonl."""
    stamp = key[FILES.index("metrics.jsonl")]
    return stamp[0] if stamp else 0
