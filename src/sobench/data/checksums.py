"""Checksums of files without a declared one, cached by path, size and time of the last change."""

from __future__ import annotations

import json
from contextlib import suppress
from functools import cache
from pathlib import Path

from sobench.system.files import digest, write_atomically


def checksum(path: Path, memory: Path) -> str:
    """The SHA-256 of the contents of `path`, as "sha256:<hex digits>".

    memory: a JSON file that keeps checksums for other processes, if it can be written. Raises OSError if `path` cannot
    be read.
    """
    stat = path.stat()
    return _checksum(path.absolute(), stat.st_size, stat.st_mtime_ns, memory)


@cache
def _checksum(path: Path, size: int, changed: int, memory: Path) -> str:
    known = _read(memory)
    match known.get(str(path)):
        case [int(old_size), int(old_changed), str(known_digest)] if (old_size, old_changed) == (size, changed):
            return known_digest
    new_digest = digest(path, "sha256")
    _write(memory, known | {str(path): [size, changed, new_digest]})
    return new_digest


def _read(memory: Path) -> dict[str, object]:
    """{path: [size, time of the last change in ns, checksum]}; empty if the file is missing or damaged."""
    try:
        contents = json.loads(memory.read_bytes()) if memory.is_file() else {}
    except (OSError, ValueError):
        return {}
    return contents if isinstance(contents, dict) else {}


def _write(memory: Path, known: dict[str, object]) -> None:
    """Replace the file. If two processes write at once the later one wins, and missing checksums are computed again."""
    with suppress(OSError):
        memory.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(memory, json.dumps(known).encode(), sync=False)
