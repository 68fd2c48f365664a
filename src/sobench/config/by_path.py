"""An object by its path, MODULE:NAME or FILE.py:NAME, in place of a name of the registry. No torch.

A module is imported as any other. A file is loaded as a script is: it finds the modules beside it by their names, and
is loaded again when one of these files has changed. A name that stands for another module in this process is refused:
whichever of the two were taken, it would be the wrong one for somebody.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import os
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

from sobench.config import extras
from sobench.config.modules import below, module_file, spec_of
from sobench.errors import UsageError
from sobench.system.text import either

FILE = "<file>"
"""The module of an object in a file, for those who read the source; FILE.helpers is a module beside it."""

FORM = "MODULE:NAME or FILE.py:NAME"


class Refused(UsageError):
    """A path that names nothing. The text is the end of a message.

    got, names: what was written, and what there is in its place.
    """

    def __init__(self, text: str, got: str = "", names: Sequence[str] = ()):
        super().__init__(text)
        self.got, self.names = got, names


@dataclass(frozen=True)
class PathEntry:
    """What a path names, with the attributes of an entry point.

    name: the path as it is configured. place: the module, or the file relative to the working folder or absolute.
    """

    name: str
    place: str
    attr: str
    dist: ClassVar[None] = None

    @property
    def value(self) -> str:
        return self.name

    @property
    def file(self) -> Path | None:
        """The absolute path of the file; None for a module."""
        return Path(os.path.abspath(os.path.expanduser(self.place))) if is_file(self.place) else None

    @property
    def module(self) -> str:
        return FILE if self.file else self.place

    @property
    def stamp(self) -> Stamp:
        """Equal as long as the file and the modules beside it that it imports stay the same; () for a module."""
        return _stamp(self.file) if self.file else ()

    def find(self, module: str) -> Path | None:
        """The file of a module, FILE and FILE.helpers included."""
        top, *rest = module.split(".")
        if self.file is None or top != FILE:
            return module_file(module)
        if rest:
            return below([self.file.parent], rest)
        return self.file if self.file.is_file() else None

    def load(self) -> Any:
        """The object. Raises Refused if there is no such module, file or name, and whatever their code raises."""
        module = _load(self.file) if self.file else _imported(self.place, self.attr)
        found: Any = module
        for part in self.attr.split("."):
            if not hasattr(found, part):
                raise Refused(f"{self.place} has no {self.attr!r}", self.attr, _own_names(module))
            found = getattr(found, part)
        return found


def is_file(place: str) -> bool:
    """Whether the place of a path is a file, and not a module."""
    return place.endswith(".py")


def is_path(name: object) -> bool:
    """Whether a name is meant as a path, be it right or wrong: no registered name has a colon or ends with .py."""
    return isinstance(name, str) and (":" in name or is_file(name))


def entry(name: object) -> PathEntry | None:
    """What a path names; None for anything but a path of the right form. Whether it exists is not looked up."""
    place, colon, attr = name.rpartition(":") if isinstance(name, str) else ("", "", "")
    dotted = r"[^\W\d]\w*(\.[^\W\d]\w*)*"
    if not (colon and re.fullmatch(dotted, attr)):
        return None
    if is_file(place) and not _is_of_windows(place) or re.fullmatch(dotted, place):
        return PathEntry(portable(str(name)), place, attr)
    return None


def portable(name: str) -> str:
    """A path as it identifies a run: that of a file below the working folder is relative to it, without `./`.

    Any other name is returned as it is.
    """
    place, colon, attr = name.rpartition(":")
    if not (colon and is_file(place)):
        return name
    path, here = Path(os.path.normpath(os.path.expanduser(place))), Path.cwd()
    for file in (here / path, path.resolve()):  # the path may name the working folder by a link
        file = Path(os.path.normpath(file))
        if file.is_relative_to(here):
            path = file.relative_to(here)
    return f"{path.as_posix()}:{attr}"


def short_name(name: str) -> str:
    """A path as tables and folders show it: the name behind the colon. Any other name is returned as it is."""
    return name.rpartition(":")[2] if is_path(name) else name


def short_names(names: Iterable[str]) -> dict[str, str]:
    """Names as they are shown beside each other: short, and whole where two would be the same."""
    shown = {name: short_name(name) for name in names}
    return {name: text if [*shown.values()].count(text) == 1 else name for name, text in shown.items()}


def check(name: str) -> None:
    """Raises Refused for a path of the wrong form, and for a file that does not exist."""
    place, _, attr = name.rpartition(":") if ":" in name else (name, "", "")
    file = Path(os.path.abspath(os.path.expanduser(place)))
    if _is_of_windows(name):
        raise Refused("allowed: a path with / and without a drive, as folder/mine.py:NAME")
    if is_file(place) and not file.is_file():
        raise Refused(f"there is no file {file}", file.name, sorted(one.name for one in file.parent.glob("*.py")))
    if is_file(place) and not attr:
        raise Refused(f"allowed: {either(f'{place}:{one}' for one in _defined(file) or ['NAME'])}")
    if entry(name) is None:
        source = f", as {place}.py:{attr or 'NAME'}" if place and file.with_name(f"{file.name}.py").is_file() else ""
        raise Refused(f"allowed: {FORM}{source}")


def _is_of_windows(name: str) -> bool:
    return "\\" in name or re.match(r"[A-Za-z]:/", name) is not None


# A file and the modules beside it


FileState = tuple[str, int, int]
"""Path, time of the last change and size of a file."""
Stamp = tuple[FileState, ...]


def beside(file: Path) -> dict[str, Path]:
    """The modules beside a file that it imports, directly or through each other: {name: its file or folder}."""
    found: dict[str, Path] = {}
    waiting = [file]
    while waiting:
        for name in _imports(*_state(waiting.pop())):
            place = next((one for one in (file.parent / name, file.parent / f"{name}.py") if _is_module(one)), None)
            if place and name not in found:
                found[name] = place
                waiting += _sources(place)
    return found


def _is_module(place: Path) -> bool:
    return (place / "__init__.py").is_file() if place.is_dir() else is_file(place.name) and place.is_file()


def _sources(place: Path) -> list[Path]:
    return sorted(place.rglob("*.py")) if place.is_dir() else [place]


def _stamp(file: Path) -> Stamp:
    if not file.is_file():
        return ()
    sources = (source for place in beside(file).values() for source in _sources(place))
    return tuple(dict.fromkeys(map(_state, (file, *sources))))


def _state(file: Path) -> FileState:
    state = file.stat()
    return str(file), state.st_mtime_ns, state.st_size


@cache
def _imports(file: str, changed: int, size: int) -> frozenset[str]:
    """The top-level modules that a file imports anywhere in its text."""
    try:
        nodes = list(ast.walk(ast.parse(Path(file).read_bytes())))
    except (SyntaxError, ValueError):
        return frozenset()
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module and not node.level]
    return frozenset(name.partition(".")[0] for name in names)


class _Source(SourceFileLoader):
    """Loads a file from its text: bytecode of a file that changed twice in a second may be that of the older text."""

    def path_stats(self, path: str) -> Any:
        raise OSError

    def exec_module(self, module: ModuleType) -> None:
        _states[self.path] = _state(Path(self.path))
        super().exec_module(module)


class _Finder(MetaPathFinder):
    """Finds the files that are known by the names of modules. `_load` sees to it that no other module has the name."""

    def __init__(self) -> None:
        self.places: dict[str, Path] = {}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        place = self.places.get(fullname)
        if place is None:
            return None
        file, folders = (place / "__init__.py", [str(place)]) if place.is_dir() else (place, None)
        loader = _Source(fullname, str(file))
        return spec_from_file_location(fullname, file, loader=loader, submodule_search_locations=folders)


_finder = _Finder()
_states: dict[str, FileState] = {}
"""Of the files that were loaded: their states then."""
_loaded: dict[Path, tuple[Stamp, ModuleType]] = {}


def _load(file: Path) -> ModuleType:
    """The module of a file. Raises Refused if the name of a module beside it stands for another one."""
    stamp = _stamp(file)
    if file in _loaded and _loaded[file][0] == stamp:
        return _loaded[file][1]
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)
    if any(_states.get(state[0], state) != state for state in stamp):
        _forget({path for path, *_ in stamp})
    for name, place in beside(file).items():
        if other := _taken(name, place):
            raise Refused(f"{file.name} imports {name!r}, which is {place} and also {other}; allowed: another name")
        _finder.places[name] = place
    name = file.stem
    if not name.isidentifier() or _taken(name, file):
        name = f"{re.sub(r'[^A-Za-z0-9]', '_', name)}_{hashlib.sha256(str(file).encode()).hexdigest()[:8]}"
    _finder.places[name] = file
    module = importlib.import_module(name)
    _loaded[file] = stamp, module
    return module


def _taken(name: str, place: Path) -> str | None:
    """The other module that a name stands for in this process; None if it is free, or that of this place."""
    if (other := _finder.places.get(name, place)) != place:
        return str(other)
    module, spec = sys.modules.get(name), None if name in sys.modules else spec_of(name)
    if module is None and spec is None:
        return None
    origin = getattr(module, "__file__", None) if module else spec and spec.origin
    file = place / "__init__.py" if place.is_dir() else place
    return None if origin and Path(origin).resolve() == file.resolve() else (origin or f"the module {name} of Python")


def _forget(files: set[str]) -> None:
    """Let the modules of these files be imported anew."""
    for name, module in list(sys.modules.items()):
        if getattr(module, "__file__", None) in files:
            del sys.modules[name]


def _imported(module: str, name: str) -> ModuleType:
    """The module of this name. Raises Refused if there is none."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise
        file = f"{module.replace('.', '/')}.py"
        other = extras.hint(error.name) or f"an installed module, or {FORM.split()[-1]}"
        hint = f"{file}:{name}" if Path(file).is_file() else other
        raise Refused(f"there is no module {error.name!r}; allowed: {hint}") from error


def _own_names(module: ModuleType) -> list[str]:
    """The classes and functions that a module defines; of a package, also those that it imports."""
    whole = hasattr(module, "__path__")
    return [
        name
        for name, value in vars(module).items()
        if callable(value)
        and not name.startswith("_")
        and (whole or getattr(value, "__module__", "") == module.__name__)
    ]


def _defined(file: Path) -> list[str]:
    """The classes and functions at the top of a file, which is not run."""
    try:
        body = ast.parse(file.read_bytes()).body
    except (SyntaxError, ValueError):
        return []
    return [node.name for node in body if isinstance(node, (ast.ClassDef, ast.FunctionDef))]
