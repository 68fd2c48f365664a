"""The store of data files: a read-only mirror, then a cache, then download.

A file is verified against its declared checksum each time its path is requested, so that the returned path is safe to
read. A file without a published checksum is not verified.
"""

from __future__ import annotations

import http.client
import logging
import os
import urllib.request
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from sobench.config.registry import module_file, suggestion, warn
from sobench.data.checksums import checksum
from sobench.data.sources import File, Source, declared
from sobench.errors import Failure, UsageError
from sobench.system.files import replacing

LARGEST = 1 << 33
"""Bytes of a download at most, where neither the server nor a declaration says how many it has."""

BLOCK = 1 << 20

log = logging.getLogger(__name__)

TIMEOUT = 30
"""Seconds without a byte from a server after which a download fails."""


@dataclass(frozen=True)
class Store:
    """The places of the files of all data sets.

    mirror: a folder that is read and never written, or None. cache: a folder that is created when it is needed.
    sources: the declared data sets. Raises UsageError if the mirror is not a folder.
    """

    mirror: Path | None
    cache: Path
    sources: Mapping[str, Source] = field(default_factory=declared, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name in ("mirror", "cache"):
            if (place := getattr(self, name)) is not None:
                object.__setattr__(self, name, Path(place).expanduser().absolute())
        if self.mirror is not None and not self.mirror.is_dir():
            raise UsageError(f"data.mirror (SOBENCH_DATA): {self.mirror} is not a folder")

    @classmethod
    def default(cls, mirror: Path | str | None = None, cache: Path | str | None = None) -> Store:
        """The given folders, else those of SOBENCH_DATA and SOBENCH_CACHE, else no mirror and ~/.cache/sobench."""
        mirror = mirror or os.environ.get("SOBENCH_DATA") or None
        cache = cache or os.environ.get("SOBENCH_CACHE") or "~/.cache/sobench"
        return cls(Path(mirror) if mirror else None, Path(cache))

    def source(self, dataset: str) -> Source:
        """The declaration of a data set. Raises UsageError for a name that is not declared."""
        if dataset not in self.sources:
            raise UsageError(f"data set: got {dataset!r}, {suggestion(dataset, self.sources, 'sobench data list')}")
        return self.sources[dataset]

    def places(self, dataset: str, filename: str) -> list[Path]:
        """The paths at which a declared file may be, the mirror's first. Raises UsageError if it is not declared."""
        source = self.source(dataset)
        if filename not in source.files:
            raise UsageError(f"file of {dataset}: got {filename!r}, {suggestion(filename, source.files)}")
        return self._in_each(source, filename)

    def _in_each(self, source: Source, filename: str) -> list[Path]:
        return [root / source.folder / filename for root in (self.mirror, self.cache) if root is not None]

    def folder(self, dataset: str, *parts: str) -> Path:
        """The folder of a data set that contains all folders `parts`. Raises Failure if there is none."""
        source = self.source(dataset)
        places = [root / source.folder for root in (self.mirror, self.cache) if root is not None]
        for place in places:
            if all((place / part).is_dir() for part in parts):
                return place
        named = "" if self.mirror else ", or name a folder that has it with SOBENCH_DATA"
        where = " or ".join(map(str, reversed(places)))
        raise Failure(
            f"{dataset}: cannot get its folders {' and '.join(parts)}; manual download: put them in {where}{named}"
        )

    def at_hand(self, dataset: str) -> bool:
        """Whether a data set can be read without a download. The contents of its files are not looked at."""
        source = self.source(dataset)
        roots = [root / source.folder for root in (self.mirror, self.cache) if root is not None]
        if source.folders:
            return any(all((root / part).is_dir() for part in source.folders) for root in roots)
        files = [any((root / name).is_file() for root in roots) for name in source.files]
        return all(files) or self.stand_in(dataset) is not None

    def stand_in(self, dataset: str) -> Path | None:
        """The path of a data set's declared stand-in, if it is there and none of the files is; else None."""
        source = self.source(dataset)
        if not source.stand_in or any(place.exists() for name in source.files for place in self.places(dataset, name)):
            return None
        return next((place for place in self._in_each(source, source.stand_in) if place.is_file()), None)

    def paths(self, dataset: str) -> list[Path]:
        """The paths that a data set is read from: its stand-in, else its verified files in order. Raises Failure."""
        stand_in = self.stand_in(dataset)
        return [stand_in] if stand_in else [self.path(dataset, name) for name in self.source(dataset).files]

    def checksums(self, dataset: str) -> list[str] | None:
        """The checksum of every file that a data set is read from: the declared one, else that of the contents.

        None if a file is missing. Nothing is downloaded or verified.
        """
        if module := self.source(dataset).module:
            file = module_file(module)
            return None if file is None else [self.checksum(file)]
        if stand_in := self.stand_in(dataset):
            return [self.checksum(stand_in)]
        present: list[tuple[File, Path]] = []
        for name, file in self.source(dataset).files.items():
            place = next((place for place in self.places(dataset, name) if place.is_file()), None)
            if place is None:
                return None
            present.append((file, place))
        return [file.checksum or self.checksum(place) for file, place in present]

    def checksum(self, path: Path) -> str:
        """The SHA-256 of the contents of any file, computed once and kept in the cache. Raises OSError."""
        return checksum(path, self.cache / "checksums.json")

    def path(self, dataset: str, filename: str) -> Path:
        """The path of a verified file in the mirror, else in the cache, else downloaded there. Raises Failure."""
        places = self.places(dataset, filename)
        file = self.sources[dataset].files[filename]
        path = next((place for place in places if intact(place, file)), None)
        if path is None:
            return self.fetch(dataset, filename)
        for place in places[: places.index(path)]:
            if place.exists():
                warn(f"{place} {file.defect(place)} and is not used")
        return path

    def fetch(self, dataset: str, filename: str) -> Path:
        """The path of a verified file in the cache, copied from the mirror or downloaded if needed. Raises Failure."""
        from filelock import FileLock

        *mirrored, target = self.places(dataset, filename)
        source = self.sources[dataset]
        file = source.files[filename]
        if intact(target, file):
            return target
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(self.cache / f".{dataset}.lock"):
                if not intact(target, file):  # another process may have put it there meanwhile
                    self._obtain(source, file, target, mirrored)
        except OSError as error:
            raise Failure(f"{dataset}: cannot write {target} ({error}); SOBENCH_CACHE names another folder") from error
        return target

    def _obtain(self, source: Source, file: File, target: Path, mirrored: list[Path]) -> None:
        """Write a file to `target` from the mirror, else from the first url that has it. Raises Failure."""
        damaged = [place for place in (*mirrored, target) if place.exists() and not intact(place, file)]
        for place in damaged:
            warn(f"{place} {file.defect(place)} and is not used")
        for place in mirrored:
            if place not in damaged and place.exists():
                with place.open("rb") as stream:
                    return publish(stream, target, file, place.stat().st_size)
        reasons = []
        for url in source.urls:
            try:
                log.info("downloading %s%s", url, file.name)
                with urllib.request.urlopen(url + file.name, timeout=TIMEOUT) as stream:
                    return publish(stream, target, file, length(stream, file))
            except (OSError, http.client.HTTPException, Failure) as error:
                reasons.append(f"{url}{file.name} ({error})")
        raise Failure(self._missing(source, file, reasons, damaged))

    def _missing(self, source: Source, file: File, reasons: list[str], damaged: Iterable[Path]) -> str:
        """The message for a file that cannot be obtained: the reasons, and where to put it after a manual download."""
        wrong = "".join(f"; {place} {file.defect(place)} and is not used" for place in damaged)
        folders = " or ".join(str(place.parent) for place in reversed(self.places(source.name, file.name)))
        named = "" if self.mirror else ", or name a folder that has it with SOBENCH_DATA"
        from_where = f" from {', nor '.join(reasons)}" if reasons else f": {source.manual}"
        text = f"{source.name}: cannot get {file.name}{from_where}{wrong}"
        other = f", or {source.stand_in} in its place" if source.stand_in else ""
        again = f"; to try again: sobench data fetch {source.name}" if source.urls else ""
        return " ".join(f"{text}{again}; manual download: put it in {folders}{other}{named}".split())


def intact(path: Path, file: File) -> bool:
    """Whether `path` is a file with the declared contents. Raises Failure if it cannot be read."""
    try:
        return path.is_file() and file.matches(path)
    except OSError as error:
        raise Failure(f"cannot read {path}: {error.strerror}") from error


def length(response: Any, file: File) -> int | None:
    """The bytes that a server announces; None if another check finds a response that is cut short.

    Raises Failure if there is none: no announced length, no transfer in chunks, whose end is marked, and no checksum.
    """
    text = response.headers.get("Content-Length") or ""
    if text.isdecimal():
        return int(text)
    if not file.verifiable and not getattr(response, "chunked", False):
        raise Failure("the server announces no length, and no checksum is published, so that its end cannot be told")
    return None


def _copy(stream: BinaryIO, part: Path, most: int) -> int:
    """Write a stream to `part`; its bytes. Raises Failure if it has more than `most`: it may have no end."""
    came = 0
    with part.open("wb") as copy:
        while block := stream.read(BLOCK):
            came += len(block)
            if came > most:
                raise Failure(f"more than {most:,} bytes came")
            copy.write(block)
    return came


def publish(stream: BinaryIO, target: Path, file: File, size: int | None = None) -> None:
    """Write a stream to `target` atomically.

    size: the bytes that the stream has, if they are known. Raises Failure, and writes nothing, if it has others or its
    checksum is wrong.
    """
    with replacing(target, sync=False, part=target.with_name(f".{target.name}.part")) as part:
        part.unlink(missing_ok=True)  # whatever it is: a named pipe would be waited for
        came = _copy(stream, part, file.bytes or size or LARGEST)
        if size is not None and came != size:
            raise Failure(f"{came:,} of {size:,} bytes came")
        if not file.matches(part):
            raise Failure(f"what came {file.defect(part)}")
