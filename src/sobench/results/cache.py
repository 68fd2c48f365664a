"""The cache of records, runs/.cache/<shard>.columns; `packing` describes the format of a file.

The name of its cell decides the shard of a run. A cached record is valid while size, times and inode of the files that
it was made from stay the same. Runs that are not over are not cached. A file that is damaged, foreign, or of another
version of this code is ignored and rewritten. Files are replaced as a whole: of two processes that write one, the last
wins.
"""

from __future__ import annotations

import hashlib
import zlib
from pathlib import Path

from sobench.results import digests
from sobench.results.packing import Kept, Key, pack, unpack
from sobench.results.record import Record, Wanted, everything
from sobench.system.files import settled, stamp, write_atomically

SHARDS = 64
FILES = ("summary.json", *digests.FILES)
"""The files that a record is made from, or that are compared with their digests when it is made."""
_MADE_BY = ("blocks", "digests", "packing", "parse", "record", "state")
CODE = hashlib.sha256(b"".join(Path(__file__).with_name(f"{name}.py").read_bytes() for name in _MADE_BY)).hexdigest()
"""The digest of the modules that make a record: the version of the cache."""


def shard_of(name: str) -> int:
    """The shard of <cell>/<seed>."""
    return zlib.crc32(name.partition("/")[0].encode()) % SHARDS


def key(directory: str) -> Key:
    """Size, times and inode of each of the run's files, of which one differs if a file is written again."""
    return [stamp(f"{directory}/{name}") for name in FILES]


def lasting(key: Key, record: Record) -> bool:
    """Whether the record may be cached: the run is over, and none of its files changed just now."""
    return record.state.finished and settled(key)


def path(root: str, shard: int) -> Path:
    return Path(root, digests.CACHE, f"{shard:02x}.columns")


def load(root: str, shard: int, wanted: Wanted = everything) -> Kept:
    """The cached records of a shard; none if its file is missing or cannot be used."""
    try:
        with open(path(root, shard), "rb") as file:
            return unpack(file, CODE, wanted)
    except Exception:  # a foreign or damaged file may raise anything
        return {}


def save(root: str, shard: int, kept: Kept) -> bool:
    """Replace the file of a shard. Returns whether it was written: the folder may be read-only."""
    place = path(root, shard)
    try:
        place.parent.mkdir(exist_ok=True)
        write_atomically(place, pack(kept, CODE), sync=False)  # checksums detect a half-written file
    except OSError:
        return False
    return True


def size(key: Key) -> int:
    """The size of metrics.jsonl in bytes."""
    stamp = key[FILES.index("metrics.jsonl")]
    return stamp[0] if stamp else 0
