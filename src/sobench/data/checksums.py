"""Checksums of files for which none is declared, computed once: remembered by path, size and time of the last change."""

from __future__ import annotations

import json
from contextlib import suppress
from functools import cache
from pathlib import Path

from sobench.system.files import digest, write_atomically


def checksum(path: Path, memory: Path) -> str:
    """ "sha256:..." of the contents of `path`. `memory` is a file that keeps it for other processes, if it can be written.
    Raises OSError if `path` cannot be read."""
    stat = path.stat()
    return _checksum(path.absolute(), stat.st_size, stat.st_mtime_ns, memory)


@cache
def _checksum(path: Path, size: int, changed: int, memory: Path) -> str:
    known = _read(memory)
    match known.get(str(path)):
        case [int(old_size), int(old_changed), str(found)] if (old_size, old_changed) == (size, changed):
            return found
    found = digest(path, "sha256")
    _write(memory, known | {str(path): [size, changed, found]})
    return found


def _read(memory: Path) -> dict[str, object]:
    try:
        found = json.loads(memory.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _write(memory: Path, known: dict[str, object]) -> None:
    """Of two processes that write at once the later's is kept, and what it lacks is computed again."""
    with suppress(OSError):
        memory.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(memory, json.dumps(known).encode(), sync=False)
