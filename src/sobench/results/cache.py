"""Records that were read before, in runs/.cache/<shard>.columns; see `packing` for what a file holds.

A run belongs to a shard by the name of its cell. A kept record holds for as long as the files it was made from are what they
were: size, times and inode of each; a run that is not over is never kept. A file that is damaged, foreign, or of another version
of this code counts for nothing and is written anew. Each is replaced as a whole: of two processes that write it, one remains.
"""

from __future__ import annotations

import hashlib
import os
import time
import zlib
from contextlib import suppress
from pathlib import Path

from sobench.results.packing import Kept, Key, pack, unpack
from sobench.results.record import Record, Wanted, everything
from sobench.system.files import write_atomically

SHARDS = 64
SETTLED = 2.0  # seconds: a file changed since may change again within one tick of its clock
FILES = ("summary.json", "metrics.jsonl", "run.json", "environment.json")
"""What a record is made from."""
_MADE_BY = ("blocks", "packing", "parse", "record", "state")
CODE = hashlib.sha256(b"".join(Path(__file__).with_name(f"{name}.py").read_bytes() for name in _MADE_BY)).hexdigest()
"""A digest of the modules that make a record."""


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
    return Path(root, ".cache", f"{shard:02x}.columns")


def load(root: str, shard: int, wanted: Wanted = everything) -> Kept:
    """What is kept; nothing where there is no file that can be used."""
    try:
        with open(path(root, shard), "rb") as file:
            return unpack(file, CODE, wanted)
    except Exception:  # whatever a file that is not ours, or not whole, leads to
        return {}


def save(root: str, shard: int, kept: Kept) -> None:
    """Replace the file. Where the folder cannot be written, nothing is kept."""
    place = path(root, shard)
    with suppress(OSError):
        place.parent.mkdir(exist_ok=True)
        write_atomically(place, pack(kept, CODE), sync=False)  # a half-written file is found out by its checksums


def size(key: Key) -> int:
    """Bytes of metrics.jsonl."""
    stamp = key[FILES.index("metrics.jsonl")]
    return stamp[0] if stamp else 0
