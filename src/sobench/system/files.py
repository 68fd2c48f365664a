"""Files: the folders of the package and the checkout, replacing a file as a whole, and checksums."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).parents[1]
"""The folder of the package `sobench`."""

CHECKOUT = PACKAGE.parents[1]
"""The top of a checkout, where the package is run from one."""


@contextmanager
def replacing(
    path: Path, sync: bool = True, part: Path | None = None, before: Callable[[], None] | None = None
) -> Iterator[Path]:
    """A file to write, which replaces `path` as a whole when the block ends; after an exception `path` is unchanged.

    sync: wait until the contents are on the disk, so that a power failure cannot leave half of them. Without it,
    whoever reads the file needs a checksum. part: the file that is written, by default one of this process alone; where
    one process at a time writes, a fixed name is overwritten by the next after a kill.

    before: called immediately before the replacement; if it raises, there is none.
    """
    part = part or path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield part
        if sync:
            with open(part, "rb+") as file:
                os.fsync(file.fileno())
        if before:
            before()
        os.replace(part, path)
    finally:
        discard(part)  # it is not there after the replacement


def write_atomically(path: Path, data: bytes, sync: bool = True, before: Callable[[], None] | None = None) -> None:
    """Write `data` as the contents of `path`, all of it or nothing. Raises OSError. sync, before: as in `replacing`."""
    with replacing(path, sync, before=before) as part:
        part.write_bytes(data)


def discard(path: Path) -> None:
    """Delete a file that nothing depends on, if it is there. One that the disk does not let go stays."""
    with suppress(OSError):
        path.unlink(missing_ok=True)


def parse_json(text: bytes | str) -> Any:
    """The value of a JSON text. Raises ValueError, also for a value that is nested too deeply for Python."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


SETTLED = 2.0
"""Seconds; a file that changed more recently may change again without a new time stamp."""


def stamp(path: str) -> list[int]:
    """Size, times and inode of a file, of which one differs if the file is written again; [] without a file."""
    try:
        stat = os.stat(path)
    except OSError:
        return []
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]


def settled(stamps: Iterable[Sequence[int]]) -> bool:
    """Whether the files of these stamps cannot change again without new ones; a missing file has none."""
    latest = time.time_ns() - SETTLED * 1e9
    return all(not one or one[1] < latest for one in stamps)


def digest(path: Path, algorithm: str) -> str:
    """The checksum of a file's contents, "algorithm:hex digits".

    Raises OSError, also for a pipe or a device, whose contents may have no end.
    """
    if not path.is_file() and path.exists():
        raise OSError(errno.EINVAL, "not a file", str(path))
    with path.open("rb") as file:
        checksum = hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False))
    return f"{algorithm}:{checksum.hexdigest()}"
