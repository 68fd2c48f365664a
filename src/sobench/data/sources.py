"""Typed access to `sources.yaml`, which declares the files of every data set."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

from sobench.system.files import digest

DECLARED = Path(__file__).with_name("sources.yaml")


@dataclass(frozen=True)
class File:
    """One file of a data set.

    checksum: "algorithm:hex digits", or '' if none is published. bytes: the size, or 0 if none is published.
    """

    name: str
    checksum: str = ""
    bytes: int = 0

    @property
    def verifiable(self) -> bool:
        """Whether a checksum is declared."""
        return bool(self.checksum)

    def matches(self, path: Path) -> bool:
        """Whether `path` has the declared checksum; without one, whether it is not empty. Raises OSError."""
        size = path.stat().st_size
        if not self.verifiable:
            return size > 0
        return size == self.bytes and digest(path, self.checksum.partition(":")[0]) == self.checksum

    def defect(self, path: Path) -> str:
        """What is wrong with a file that does not match. Raises OSError."""
        if not path.is_file():
            return "is not a file"
        return "has the wrong checksum" if path.stat().st_size else "is empty"


@dataclass(frozen=True)
class Source:
    """A declared data set. The fields are the keys that `sources.yaml` explains."""

    name: str
    about: str
    rows: tuple[int, ...] = ()
    where: str = ""
    folder: str = ""
    urls: tuple[str, ...] = ()
    files: dict[str, File] = field(default_factory=dict)
    stand_in: str = ""
    partial_stand_in: bool = False
    balanced: bool = False
    features: int = 0
    classes: int = 0
    manual: str = ""
    kind: str = ""
    module: str = ""
    folders: tuple[str, ...] = ()

    @property
    def bytes(self) -> int | None:
        """The size of all files together, or None if it is not known."""
        sizes = [file.bytes for file in self.files.values()]
        return sum(sizes) if all(sizes) else None

    @property
    def verifiable(self) -> bool:
        """Whether every file has a declared checksum."""
        return all(file.verifiable for file in self.files.values())


@cache
def declared(path: Path = DECLARED) -> dict[str, Source]:
    """The data sets that `path` declares, by name. Raises ValueError for a name that could leave its folder."""
    import yaml

    return {name: _source(name, **entry) for name, entry in yaml.safe_load(path.read_text("utf-8")).items()}


def _source(
    name: str,
    files: dict[str, dict[str, Any] | None] | None = None,
    urls: tuple[str, ...] = (),
    rows: tuple[int, ...] = (),
    folder: str = "",
    stand_in: str = "",
    folders: tuple[str, ...] = (),
    **rest: Any,
) -> Source:
    for part in (name, *(files or {}), *([stand_in] if stand_in else []), *folders):
        if PurePosixPath(part).name != part or "\\" in part:
            raise ValueError(f"{name}: {part!r} is not a plain file name")
    if PurePosixPath(folder).is_absolute() or ".." in PurePosixPath(folder).parts or "\\" in folder:
        raise ValueError(f"{name}: folder {folder!r} leaves the place it is in")
    return Source(
        name,
        folder=folder,
        urls=tuple(urls),
        rows=tuple(rows),
        stand_in=stand_in,
        folders=tuple(folders),
        files={key: File(key, **(entry or {})) for key, entry in (files or {}).items()},
        **rest,
    )
