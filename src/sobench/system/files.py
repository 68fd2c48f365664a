"""Files: where the checkout is, writing a file whole or not at all, and the checksum of one."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

PACKAGE = Path(__file__).parents[1]
"""The folder of the package `sobench`."""

CHECKOUT = PACKAGE.parents[1]
"""The top of a checkout, where the package is run from one."""


def write_atomically(path: Path, data: bytes) -> None:
    """The file has its old contents or all of its new ones, whatever happens."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    with open(part, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)


def digest(path: Path, algorithm: str) -> str:
    """The checksum of a file's contents, "algorithm:hex digits". Raises OSError."""
    with path.open("rb") as file:
        found = hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False))
    return f"{algorithm}:{found.hexdigest()}"
