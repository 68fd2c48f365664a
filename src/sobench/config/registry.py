"""The parts of a run by name: entry points, torch's optimizers, and objects by their paths.

`find` says what a name stands for. Only `load` imports it; the other functions read source files, and import no torch.
"""

from __future__ import annotations

import ast
import difflib
import re
import sys
import traceback
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from importlib.metadata import (
    Distribution,
    EntryPoint,
    PackageNotFoundError,
    distribution,
    entry_points,
    packages_distributions,
)
from pathlib import Path
from typing import Any

from sobench.config import by_path
from sobench.config.by_path import PathEntry
from sobench.config.modules import module_file
from sobench.errors import SobenchError, UsageError, described
from sobench.system.output import say
from sobench.system.text import either

KINDS = {
    "optimizer": "optimizers",
    "dataset": "datasets",
    "model": "models",
    "loss": "losses",
    "schedule": "schedules",
    "logger": "loggers",
    "instrument": "instruments",
    "metric": "metrics",
}
"""The key in the configuration -> the kind, as in the entry-point group `sobench.<kind>`."""

WHOLE = 12
"""The most names that a message lists whole, if there is a command that lists them."""
FEW = 5
"""The most names that it lists of a longer list."""
SIMILAR = 0.6
"""The similarity of two texts, at most 1, from which on one is taken for the other with an error in it."""

BUILT_IN = {
    "schedules": {
        "constant": "sobench.training.schedule:constant",
        "step": "sobench.training.schedule:step",
        "cosine": "sobench.training.schedule:cosine",
        "warmup": "sobench.training.schedule:warmup",
        "linear": "sobench.training.schedule:linear",
        "warmup_cosine": "sobench.training.schedule:warmup_cosine",
        "wsd": "sobench.training.schedule:wsd",
    },
    "loggers": {
        "none": "sobench.results.loggers.base:Logger",
        "csv": "sobench.results.loggers.csv_file:CsvFile",
        "tensorboard": "sobench.results.loggers.event_files:EventFiles",
        "wandb": "sobench.results.loggers.wandb.process:Wandb",
    },
    "instruments": {
        "none": "sobench.training.instruments.base:Instrument",
        "directions": "sobench.training.instruments.directions:Directions",
        "descent": "sobench.training.instruments.descent:Descent",
        "trajectory": "sobench.training.instruments.trajectory:Trajectory",
        "summary": "sobench.training.instruments.summary:SummaryInstrument",
        "differences": "sobench.training.instruments.differences:Differences",
        "product_time": "sobench.training.instruments.product_time:ProductTime",
        "optimum": "sobench.training.instruments.optimum:Optimum",
    },
}
"""Parts of sobench's own that are no entry points: kind -> name -> object."""

TORCH = "torch.optim"
"""The module of torch's optimizers, each of which has its own name in lower case."""

Entry = EntryPoint | PathEntry
"""What a name stands for."""

DEFINITIONS = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


@cache
def installed() -> Mapping[str, tuple[EntryPoint, ...]]:
    """{kind: the entry points of all installed packages}, of every kind: to read one group takes as long as all."""
    found = entry_points()
    return {kind: tuple(found.select(group=f"sobench.{kind}")) for kind in KINDS.values()}


@cache
def entries(kind: str) -> dict[str, EntryPoint]:
    """{name: entry point} of the group `sobench.<kind>`, and of BUILT_IN, sorted by name.

    Of two entry points with one name, that of sobench is used, else the first; a warning says so.
    """
    group = f"sobench.{kind}"
    by_name = {name: EntryPoint(name, value, group) for name, value in BUILT_IN.get(kind, {}).items()}
    for entry in installed()[kind]:
        other = by_name.setdefault(entry.name, entry)
        if other.value != entry.value:
            used, ignored = (other, entry) if is_ours(other) else (entry, other)
            by_name[entry.name] = used
            warn_of_two(kind, entry.name, used.value, ignored.value)
    return dict(sorted(by_name.items()))


def choices(kind: str) -> Mapping[str, EntryPoint]:
    """{name: entry point} of everything that can be chosen by a name: the entry points, and torch's optimizers."""
    return {**_of_torch(), **entries(kind)} if kind == "optimizers" else entries(kind)


@cache
def _of_torch() -> Mapping[str, EntryPoint]:
    """torch's optimizers by the names of their classes in lower case."""
    tree = _parsed(TORCH, module_file(TORCH))
    listed = (
        node.value for node in getattr(tree, "body", ()) if isinstance(node, ast.Assign) and _binds(node, "__all__")
    )
    classes = (
        name for names in listed for name in ast.literal_eval(names) if name[0].isupper() and name != "Optimizer"
    )
    return {name.lower(): EntryPoint(name.lower(), f"{TORCH}:{name}", "sobench.optimizers") for name in classes}


def find(kind: str, name: str) -> Entry | None:
    """What a name or a path stands for; None if it stands for nothing. A path is not looked up."""
    return choices(kind).get(name) or by_path.entry(name)


def chosen(settings: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Key, kind and name of everything that a run takes from here, by its configuration; `metrics[0]` of a list."""
    for key, kind in KINDS.items():
        if key == "metric":
            yield from ((f"{kind}[{n}]", kind, name) for n, name in enumerate(settings.get(kind, ())))
        else:
            yield key, kind, settings[key] if key == "loss" else settings[key]["name"]


def members(group: str) -> Iterable[str]:
    """The names of a config group that can be chosen; none for a group such as `budget`."""
    return choices(KINDS[group]) if group in KINDS else ()


def is_member(group: str, name: str) -> bool:
    """Whether a name can be chosen in a config group, or is meant as a path; a wrong path has a message of its own."""
    return group in KINDS and (name in members(group) or by_path.is_path(name))


def is_plugin(group: str, name: str) -> bool:
    """Whether a member of a config group, or a loss, is that of another package, or of a file."""
    entry = find(KINDS[group], name) if group in KINDS else None
    return entry is not None and not is_ours(entry)


def named(kind: str, name: str) -> str:
    """An entry in a message: "model 'mine' (mypackage.net:Net)", "model 'mine.py:Net'"."""
    entry = find(kind, name)
    return f"{key_of(kind)} {name!r}" + (f" ({entry.value})" if entry and entry.value != name else "")


@contextmanager
def calling(kind: str, name: str) -> Iterator[None]:
    """A context that turns an exception of a plug-in into a UsageError of one line, with its place in the source.

    Lack of memory is no fault of the plug-in, and errors of sobench say by themselves what is wrong.
    """
    try:
        yield
    except (SobenchError, MemoryError):
        raise
    except Exception as error:
        if not is_plugin(key_of(kind), name) or type(error).__name__ == "OutOfMemoryError":
            raise
        frames = traceback.extract_tb(error.__traceback__)
        own = [frame for frame in frames if _is_in_package(frame.filename, kind, name)]
        place = (own or frames)[-1]
        where = f"{Path(place.filename).name}, line {place.lineno}"
        raise UsageError(f"{named(kind, name)} raised {described(error)} ({where})") from error


def _is_in_package(file: str, kind: str, name: str) -> bool:
    """Whether a source file is in the folder of the module that an entry names."""
    entry = find(kind, name)
    module = source_file(entry) if entry else None
    return module is not None and Path(file).is_relative_to(module.parent)


def load(kind: str, name: str) -> Any:
    """The object that a name stands for. Raises UsageError for an unknown name, or if the import fails."""
    check_name(kind, name)
    entry = find(kind, name)
    assert entry is not None
    try:
        return entry.load()
    except by_path.Refused as error:
        raise UsageError(_refused(kind, name, error)) from error
    except (Exception, SystemExit) as error:  # the import of a plug-in may raise anything
        where = _line_of(error, entry) if isinstance(entry, PathEntry) else ""
        raise UsageError(f"{named(kind, name)} cannot be loaded: {described(error)}{where}") from error


def _line_of(error: BaseException, entry: PathEntry) -> str:
    """ " (mine.py, line 3)": the place of an error in a file that is named by its path, or in a module beside it"""
    if isinstance(error, SyntaxError) or entry.file is None:  # the text of a syntax error names its place
        return ""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if Path(frame.filename).is_relative_to(entry.file.parent)]
    return f" ({Path(own[-1].filename).name}, line {own[-1].lineno})" if own else ""


def _refused(kind: str, name: str, error: by_path.Refused) -> str:
    near = f"; {suggestion(error.got, error.names)}" if error.names else ""
    return f"{key_of(kind)}: got {name!r}, {error}{near}"


def check_name(kind: str, name: str) -> None:
    """Raises UsageError, with the nearest match, for a name that is unknown, and for a path that cannot be right."""
    if isinstance(name, str) and name in choices(kind):
        return
    if not by_path.is_path(name):
        known = choices(kind)
        allowed = suggestion(name, known, f"sobench list {kind}") if known else f"allowed: {by_path.FORM}"
        raise UsageError(f"{key_of(kind)}: got {name!r}, {allowed}")
    try:
        by_path.check(name)
    except by_path.Refused as error:
        raise UsageError(_refused(kind, name, error)) from error


def suggestion(got: Any, allowed: Iterable[Any], listing: str = "") -> str:
    """The end of an error message: "allowed: a, b, c; did you mean 'b'?".

    listing: a command that prints all names. With one, a list of more than WHOLE names is replaced by the near ones,
    "did you mean 'b' or 'c'? (all 73: COMMAND)", or by some examples if none is near.
    """
    names = sorted(map(str, allowed))
    near = nearest(got, names)
    if len(names) <= WHOLE or not listing:
        return f"allowed: {', '.join(names)}" + (f"; did you mean {near[0]!r}?" if near else "")
    every = f"(all {len(names)}: {listing})"
    if near:
        return f"did you mean {either(map(repr, near[:FEW]))}? {every}"
    return f"allowed: {', '.join(names[:: -(-len(names) // FEW)])}, ... {every}"


def nearest(got: Any, names: Iterable[str]) -> list[str]:
    """The names that are like `got`, the most similar first; the case of letters does not count.

    A name is like a text that it contains, and one that is similar to it or to its last part, as table-3 of
    practical/table-3.
    """
    text = str(got).lower()
    near = {name: _nearness(text, name.lower()) for name in names if isinstance(got, str) and text}
    return sorted((name for name in near if near[name] >= SIMILAR), key=lambda name: (-near[name], name))


def _nearness(text: str, name: str) -> float:
    ends = {name, re.split(r"[/.]", name)[-1]}
    alike = max(difflib.SequenceMatcher(None, text, end).ratio() for end in ends)
    return max(alike, SIMILAR) if len(text) > 2 and text in name else alike


def is_ours(entry: Entry) -> bool:
    """Whether an entry is one of sobench itself."""
    if isinstance(entry, PathEntry):
        return False
    return _name(entry.dist) == "sobench" if entry.dist else entry.value in BUILT_IN.get(entry.group[8:], {}).values()


@cache
def _name(package: Distribution) -> str:
    """The name of a distribution, which is read from its files each time that it is asked for."""
    return package.name


def package_of(entry: Entry) -> Distribution | None:
    """The distribution that an entry comes from; None if that is unknown, and for a file."""
    if entry.dist or isinstance(entry, PathEntry) and entry.file:
        return entry.dist
    top = module_of(entry).partition(".")[0]
    with suppress(PackageNotFoundError):
        return distribution(top)
    return next(map(distribution, packages_distributions().get(top, ())), None)


def origin(entry: Entry) -> str:
    """The distribution that an entry comes from, as "name version"; "" for a file, and if it is unknown."""
    package = package_of(entry)
    return f"{package.name} {package.version}" if package else ""


def warn(message: str) -> None:
    """Print a warning, one line on standard error."""
    say(f"sobench: warning: {message}", sys.stderr)


def warn_of_two(kind: str, name: str, used: str, ignored: str) -> None:
    """Warn that a name stands for one of two objects, and say how to choose the other one."""
    warn(f"two {kind} are called {name!r}: using {used}, not {ignored}; for the other: {key_of(kind)}={ignored}")


def summary(entry: Entry) -> str:
    """The first line of an object's docstring, or of its module's, read from the source; "" if there is none.

    Where the source is missing or cannot be parsed, the object cannot be loaded either: then the reason in brackets.
    """
    module, attribute = _target(entry)
    tree = _parsed(module, source_file(entry))
    if isinstance(tree, str):
        return tree
    texts = [_docstring(tree, attribute), ast.get_docstring(tree)]
    if module == TORCH:  # which imports its classes
        texts = [_docstring_elsewhere(tree, attribute), *texts]
    return next((text.strip().splitlines()[0] for text in texts if text and text.strip()), "")


def _docstring(tree: ast.Module, name: str) -> str | None:
    """The docstring of a definition at the top of a module, also where it is assigned: `name.__doc__ = ...`."""
    definitions = [node for node in tree.body if isinstance(node, DEFINITIONS) and node.name == name]
    texts = [text for node in definitions if (text := ast.get_docstring(node))]
    for node in tree.body if definitions and not texts else ():
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == f"{name}.__doc__":
            parts = [part for part in ast.walk(node.value) if isinstance(part, ast.Constant)]
            texts += [part.value for part in sorted(parts, key=lambda part: (part.lineno, part.col_offset))]
    return next((text for text in texts if isinstance(text, str)), None)


def _docstring_elsewhere(tree: ast.Module, name: str) -> str | None:
    """The docstring of a name that a module imports from another one."""
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module and name in [alias.name for alias in node.names]:
            source = _parsed(node.module, module_file(node.module))
            return None if isinstance(source, str) else _docstring(source, name)
    return None


def documentation(entry: Entry) -> str:
    """The docstring of the module that an entry names, read from the source; "" if there is none."""
    tree = _parsed(module_of(entry), source_file(entry))
    return "" if isinstance(tree, str) else ast.get_docstring(tree) or ""


def _parsed(module: str, source: Path | None) -> ast.Module | str:
    """The source of a module; the reason in brackets where there is none to parse."""
    if source is None:
        return f"(no module {module!r})"
    if source.suffix != ".py":  # compiled: there is nothing to read
        return ""
    try:
        return ast.parse(source.read_bytes())
    except (SyntaxError, ValueError, OSError) as error:
        return f"({source.name} cannot be parsed: {described(error)})"


def _binds(node: ast.Assign, name: str) -> bool:
    return any(isinstance(target, ast.Name) and target.id == name for target in node.targets)


def source_file(entry: Entry) -> Path | None:
    """The file that defines what an entry names; None if there is none."""
    file = entry.file if isinstance(entry, PathEntry) else None
    return file or module_file(module_of(entry))


def module_of(entry: Entry) -> str:
    """The name of the module that an entry names; the path of a file."""
    return _target(entry)[0]


def _target(entry: Entry) -> tuple[str, str]:
    """The module and the object of "module:object [extra]"; either may be empty."""
    if isinstance(entry, PathEntry):
        return entry.place, entry.attr
    module, _, attribute = entry.value.partition("[")[0].partition(":")
    return module.strip(), attribute.strip()


def key_of(kind: str) -> str:
    """The key of a kind in the configuration: "optimizer" for "optimizers"."""
    return next(key for key, plural in KINDS.items() if plural == kind)
