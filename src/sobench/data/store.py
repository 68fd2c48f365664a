"""Where the files of a data set are: a read-only mirror, then the cache, then the network. Every file is verified
against its declared checksum each time it is asked for, so a path that a store returns can be read without a doubt; what
has no published checksum is taken as it is."""

from __future__ import annotations

import http.client
import logging
import os
import shutil
import urllib.request
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from sobench.config.registry import suggestion, warn
from sobench.data.checksums import checksum
from sobench.data.sources import File, Source, declared
from sobench.errors import Failure, UsageError

log = logging.getLogger(__name__)

TIMEOUT = 30  # seconds a server may be silent
from sobench.system.files import replacing


@dataclass(frozen=True)
class Store:
    """`mirror`: a folder that is read and never written, or None; `cache`: a folder that is made when it is needed.

    Raises UsageError when the mirror is not a folder.
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
        """The places given, else SOBENCH_DATA (mirror) and SOBENCH_CACHE, else no mirror and ~/.cache/sobench."""
        mirror = mirror or os.environ.get("SOBENCH_DATA") or None
        cache = cache or os.environ.get("SOBENCH_CACHE") or "~/.cache/sobench"
        return cls(Path(mirror) if mirror else None, Path(cache))

    def source(self, dataset: str) -> Source:
        """The declaration of a data set. Raises UsageError for a name that is not declared."""
        if dataset not in self.sources:
            raise UsageError(f"data set: got {dataset!r}, {suggestion(dataset, self.sources)}")
        return self.sources[dataset]

    def places(self, dataset: str, filename: str) -> list[Path]:
        """The paths where a declared file may be, the mirror's first. Raises UsageError when it is not declared."""
        source = self.source(dataset)
        if filename not in source.files:
            raise UsageError(f"file of {dataset}: got {filename!r}, {suggestion(filename, source.files)}")
        return self._in_each(source, filename)

    def _in_each(self, source: Source, filename: str) -> list[Path]:
        return [root / source.folder / filename for root in (self.mirror, self.cache) if root is not None]

    def folder(self, dataset: str, *parts: str) -> Path:
        """The folder of a data set that has all these folders in it, put there by hand. Raises Failure."""
        source = self.source(dataset)
        places = [root / source.folder for root in (self.mirror, self.cache) if root is not None]
        for place in places:
            if all((place / part).is_dir() for part in parts):
                return place
        named = "" if self.mirror else ", or name a folder that has it with SOBENCH_DATA"
        where = " or ".join(map(str, reversed(places)))
        raise Failure(f"{dataset}: cannot get its folders {' and '.join(parts)}; put them by hand in {where}{named}")

    def stand_in(self, dataset: str) -> Path | None:
        """The declared stand-in for a data set's files: where it is, if it is here and none of the files is."""
        source = self.source(dataset)
        if not source.stand_in or any(place.exists() for name in source.files for place in self.places(dataset, name)):
            return None
        return next((place for place in self._in_each(source, source.stand_in) if place.is_file()), None)

    def paths(self, dataset: str) -> list[Path]:
        """All that a data set is read from: its stand-in, else its verified files in order. Raises Failure."""
        stand_in = self.stand_in(dataset)
        return [stand_in] if stand_in else [self.path(dataset, name) for name in self.source(dataset).files]

    def checksums(self, dataset: str) -> list[str] | None:
        """The checksum of everything that a data set is read from: the declared one, else that of the contents; None where a
        file is not here."""
        stand_in = self.stand_in(dataset)
        files = (
            [(File(stand_in.name), [stand_in])]
            if stand_in
            else [(file, self.places(dataset, name)) for name, file in self.source(dataset).files.items()]
        )
        here = [(file, next((place for place in places if place.is_file()), None)) for file, places in files]
        if any(place is None for _, place in here):
            return None
        return [file.checksum or self.checksum(place) for file, place in here]

    def checksum(self, path: Path) -> str:
        """That of any file's contents, computed once. Raises OSError."""
        return checksum(path, self.cache / "checksums.json")

    def path(self, dataset: str, filename: str) -> Path:
        """A verified file: the mirror's, else the cache's, else a fresh download in the cache. Raises Failure."""
        places = self.places(dataset, filename)
        file = self.sources[dataset].files[filename]
        found = next((place for place in places if intact(place, file)), None)
        if found is None:
            return self.fetch(dataset, filename)
        for place in places[: places.index(found)]:
            if place.exists():
                warn(f"{place} has the wrong checksum and is not used")
        return found

    def fetch(self, dataset: str, filename: str) -> Path:
        """A verified file in the cache, copied there from the mirror or downloaded if need be. Raises Failure."""
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
        damaged = [place for place in (*mirrored, target) if place.exists() and not intact(place, file)]
        for place in damaged:
            warn(f"{place} has the wrong checksum and is not used")
        for place in mirrored:
            if place not in damaged and place.exists():
                with place.open("rb") as stream:
                    return publish(stream, target, file)
        reasons = []
        for url in source.urls:
            try:
                log.info("downloading %s%s", url, file.name)
                with urllib.request.urlopen(url + file.name, timeout=TIMEOUT) as stream:
                    return publish(stream, target, file)
            except (OSError, http.client.HTTPException, Failure) as error:
                reasons.append(f"{url}{file.name} ({error})")
        raise Failure(self._missing(source, file, reasons, damaged))

    def _missing(self, source: Source, file: File, reasons: list[str], damaged: Iterable[Path]) -> str:
        wrong = "".join(f"; {place} has the wrong checksum and is not used" for place in damaged)
        by_hand = " or ".join(str(place.parent) for place in reversed(self.places(source.name, file.name)))
        named = "" if self.mirror else ", or name a folder that has it with SOBENCH_DATA"
        from_where = f" from {', nor '.join(reasons)}" if reasons else f": {source.by_hand}"
        text = f"{source.name}: cannot get {file.name}{from_where}{wrong}"
        other = f", or {source.stand_in} in its place" if source.stand_in else ""
        return " ".join(f"{text}; put it by hand in {by_hand}{other}{named}".split())


def intact(path: Path, file: File) -> bool:
    """Whether `path` is there with the declared contents. Raises Failure when it is there and cannot be read."""
    try:
        return path.is_file() and file.matches(path)
    except OSError as error:
        raise Failure(f"cannot read {path}: {error.strerror}") from error


def publish(stream: BinaryIO, target: Path, file: File) -> None:
    """Writes a stream to `target` all at once, and only if it has the declared checksum: else raises Failure."""
    with replacing(target, sync=False, part=target.with_name(f".{target.name}.part")) as part:
        with part.open("wb") as copy:
            shutil.copyfileobj(stream, copy)
        if not file.matches(part):
            raise Failure("what came has the wrong checksum")
