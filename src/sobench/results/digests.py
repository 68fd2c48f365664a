"""Digests of a finished run: damage to its files is found when the run is read. No pandas, no torch.

summary.json    "digests": the SHA-256 of each of FILES; that of metrics.jsonl is a chain over the rows as they were
                written, not what a disk gave back later
                "sha256", its last key: the digest of all bytes before that key
.cache/checked  one line for each run whose files agreed with their digests: a digest of these, and of size, times and
                inode of the files. A run in this list is not read again; the list may be deleted at any time

Runs that were finished before there were digests have none. Of these the length of metrics.jsonl is compared.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sobench.system.files import settled, stamp

RECORD = "metrics.jsonl"
FILES = (RECORD, "run.json", "config.yaml", "environment.json")
"""The files of a run beside its summary that are read after its end."""
SUMMARY = "summary.json"
CACHE = ".cache"
"""The folder, below that of the runs, of what may be found again."""

_SEAL = b',\n "sha256": "'
_END = b'"\n}'
CHECKED = "checked"

_checked: dict[str, set[bytes]] = {}
"""The lines of runs/.cache/checked, by the folder of the runs."""


class Contents(dict[str, "bytes | None"]):
    """The bytes of the files of a folder, by their names. Each is read once; None of one that cannot be read.

    missing: the names of those that were not there.
    """

    def __init__(self, folder: str):
        self.folder = folder
        self.missing: set[str] = set()

    def __missing__(self, name: str) -> bytes | None:
        try:
            with open(f"{self.folder}/{name}", "rb") as file:
                self[name] = file.read()
        except OSError as error:
            self[name] = None
            if isinstance(error, (FileNotFoundError, NotADirectoryError)):
                self.missing.add(name)
        return self[name]


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def of_files(folder: Path) -> dict[str, str]:
    """The digest of each of FILES as it is on the disk now, without those that are missing."""
    return {name: sha256((folder / name).read_bytes()) for name in FILES if (folder / name).exists()}


def sealed(summary: Mapping[str, Any]) -> bytes:
    """The contents of summary.json, with their own digest at the end."""
    body = json.dumps(summary, indent=1).encode().removesuffix(b"\n}")
    return body + _SEAL + sha256(body).encode() + _END


def has_digests(summary: Mapping[str, Any]) -> bool:
    """Whether the run was finished with digests."""
    return "digests" in summary or "sha256" in summary


def damage(files: Contents, summary: Mapping[str, Any], anew: bool = False) -> dict[str, str]:
    """The damaged files of a finished run, by their names: the damage in words. Empty if nothing is damaged.

    summary: the value of summary.json. anew: read all files, also those that were checked.
    """
    folder = files.folder
    if has_digests(summary) and not _is_sealed(files[SUMMARY] or b""):
        return {SUMMARY: f"{SUMMARY} is damaged"}
    then = f"when the run was {summary.get('status')}"
    length = summary.get("metrics_bytes")
    if length is not None and length != _size(f"{folder}/{RECORD}"):
        return {RECORD: f"{RECORD} is not as long as it was {then}"}
    digests = summary.get("digests", {})
    if not digests:
        return {}
    stamps = [stamp(f"{folder}/{name}") for name in digests]
    root, line = os.path.dirname(os.path.dirname(folder)), sha256(json.dumps([digests, stamps]).encode()).encode()
    if not anew and line in _lines(root):
        return {}
    found = {
        name: f"{name} is {'missing' if now is None else f'not what it was {then}'}"
        for name, digest in digests.items()
        if (now := None if (data := files[name]) is None else sha256(data)) != digest
    }
    if not found:
        _keep(root, line, stamps)
    return found


def _is_sealed(text: bytes) -> bool:
    body, _, end = text.rpartition(_SEAL)
    return end == sha256(body).encode() + _END


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


def _lines(root: str) -> set[bytes]:
    """The list of a folder of runs, read once by each process. A line that is damaged is that of no run."""
    if root not in _checked:
        try:
            with open(_list(root), "rb") as file:
                _checked[root] = set(file.read().split(b"\n"))
        except OSError:
            _checked[root] = set()
    return _checked[root]


def _keep(root: str, line: bytes, stamps: list[list[int]]) -> None:
    """Add a run to the list, unless a file is so new that it may change again without a new time stamp."""
    if line in _lines(root) or not settled(stamps):
        return
    _checked[root].add(line)
    try:
        if not os.path.isdir(os.path.dirname(_list(root))):
            os.mkdir(os.path.dirname(_list(root)))
        with open(_list(root), "ab") as file:
            file.write(line + b"\n")
    except OSError:  # the folder may be read-only
        pass


def _list(root: str) -> str:
    return os.path.join(root, CACHE, CHECKED)


# The same for a file that has its digest at its own end


def signed(body: bytes) -> bytes:
    """The bytes of a file whose digest follows its contents."""
    return body + hashlib.sha256(body).digest()


def unsigned(data: bytes) -> bytes:
    """The contents of such a file. Raises ValueError if the digest is wrong."""
    body, digest = data[:-32], data[-32:]
    if hashlib.sha256(body).digest() != digest:
        raise ValueError("its checksum does not fit")
    return body
