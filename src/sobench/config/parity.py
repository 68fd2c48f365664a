"""The algorithms that `sobench parity` compares, from conf/parity/NAME.yaml: implementations and settings. No torch.

A file has the settings that the implementations share, by the names of the first one, and for each implementation the
map of these settings to its own: `damping: 0.1` among the shared ones and `matrix_eps: ${damping}` in the map. What
an implementation has beyond them, and the others have not, is under `neutral`, with a value that switches it off.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from sobench.config import by_path, files, registry, rules
from sobench.config.rules import FLAG, TEXT, Rule
from sobench.errors import UsageError

FOLDER = "parity"
"""The folder of these files below conf/."""

PARAMETERS = "parameters"
"""What is compared, unless a file names the factors of a method's layers."""

PROBLEM = (
    *("dataset", "model", "loss", "init", "l2", "validation"),
    *("batch_size", "drop_last", "batches", "seed", "dtype", "device", "threads", "data"),
)
"""The settings of a run that are those of its problem: the first part of their dotted paths."""

DTYPE = "dtype"
"""What a map may take beside the shared settings: the precision of the run."""

_PLACE = re.compile(r"\$\{(\w+)\}")

_SETTINGS = Rule((dict,), "keys and values")
_OF_A_FILE = {
    "settings": _SETTINGS,
    "implementations": Rule((list,), "a list of at least two", lambda v: len(v) > 1),
    "compares": Rule((str, list), f"{PARAMETERS}, or a list of names of matrices", lambda v: v in (PARAMETERS, [*v])),
    "match": TEXT,
}
_OF_AN_ENTRY = {
    **dict.fromkeys(("name", "label", "package", "module", "requirement", "differs"), TEXT),
    **dict.fromkeys(("settings", "neutral", "group"), _SETTINGS),
    **dict.fromkeys(("witness", "differentiates_gradients"), FLAG),
}


@dataclass(frozen=True)
class Implementation:
    """An implementation of an algorithm.

    name: as `optimizer=` takes it; of a `witness` the path of a function, see `sobench.training.parity.comparison`.
    label: its name in the table. package: the distribution that has it, "" for a file. module: what is imported of
    that. requirement: what pip is given to install it. settings: the map of the shared settings, {its own name: value},
    in which ${lr} stands for the shared lr. neutral: its settings without a counterpart. group: further keys of its
    parameter group. differentiates_gradients: whether its gradients need a graph. differs: how it is known to differ
    from the first implementation.
    """

    name: str
    label: str
    package: str
    module: str
    requirement: str
    settings: Mapping[str, Any]
    neutral: Mapping[str, Any]
    group: Mapping[str, Any]
    witness: bool = False
    differentiates_gradients: bool = False
    differs: str = ""

    @property
    def is_installed(self) -> bool:
        """Whether its module can be found. It is not imported."""
        return not self.module or find_spec(self.module) is not None

    def resolved(self, shared: Mapping[str, Any]) -> dict[str, Any]:
        """All of its settings for these values of the shared ones, and of `dtype`."""
        from omegaconf import OmegaConf

        node = OmegaConf.create({**shared, "_": {**self.settings, **self.neutral}})
        values: Any = OmegaConf.to_container(node, resolve=True)
        return values["_"]

    def counterparts(self, shared: Iterable[str]) -> dict[str, list[str]]:
        """{shared setting: its own settings that have the value}; [] for one without a counterpart."""
        named = {key: set(_PLACE.findall(str(value))) for key, value in self.settings.items()}
        return {name: [key for key, names in named.items() if name in names] for name in shared}


@dataclass(frozen=True)
class Algorithm:
    """An algorithm and its implementations, the first of which the others are compared with.

    settings: the shared settings and their defaults. compares: `parameters`, or the names of the matrices of each layer
    in the first implementation's state. match: the parameters that the algorithm moves, as in `optimizer.groups`; the
    others keep their values.
    """

    name: str
    settings: Mapping[str, Any]
    implementations: tuple[Implementation, ...]
    compares: str | tuple[str, ...] = PARAMETERS
    match: str = "rest"

    @property
    def first(self) -> Implementation:
        """The implementation that the others are compared with."""
        return self.implementations[0]


def read(name: str) -> Algorithm:
    """The algorithm of this name. Raises UsageError for an unknown one, and for a file with wrong keys or values."""
    file = files.find(f"{FOLDER}/{name}")
    if file is None:
        raise UsageError(f"{FOLDER}: got {name!r}, {registry.suggestion(name, files.members(FOLDER))}")
    contents = files.read(file)
    _check_keys(f"{file}: ", contents, _OF_A_FILE, ("settings", "implementations"))
    settings, entries = contents["settings"], contents["implementations"]
    for number, entry in enumerate(entries):
        _check_entry(f"{file}: implementations[{number}]", entry, settings)
    for key in ("settings", "witness"):
        if key in entries[0]:
            text = "the first one has the shared settings, and makes the steps; allowed: in the others"
            raise UsageError(f"{file}: implementations[0].{key}: {text}")
    compares = contents.get("compares", PARAMETERS)
    return Algorithm(
        name,
        settings,
        tuple(_implementation(entry, settings) for entry in entries),
        compares if isinstance(compares, str) else tuple(compares),
        contents.get("match", "rest"),
    )


def _check_keys(prefix: str, written: Mapping[str, Any], known: Mapping[str, Rule], required: Iterable[str]) -> None:
    for key, value in written.items():
        if key not in known:
            raise UsageError(f"{prefix}{key}: no such key, {registry.suggestion(key, known)}")
        rules.check(f"{prefix}{key}", value, known[key])
    for key in required:
        if key not in written:
            raise UsageError(f"{prefix}{key}: must be given")


def _check_entry(prefix: str, entry: Any, shared: Mapping[str, Any]) -> None:
    rules.check(prefix, entry, _SETTINGS)
    _check_keys(f"{prefix}.", entry, _OF_AN_ENTRY, ("name",))
    for key, value in {**entry.get("settings", {}), **entry.get("neutral", {})}.items():
        for name in _PLACE.findall(str(value)):
            if name not in (*shared, DTYPE):
                raise UsageError(f"{prefix}: got {key}: {value}, {registry.suggestion(name, [*shared, DTYPE])}")


def _implementation(written: Mapping[str, Any], shared: Mapping[str, Any]) -> Implementation:
    """An entry of the file; without a map of the settings, they have the names of the shared ones."""
    package, name = written.get("package", ""), written["name"]
    return Implementation(
        name=name,
        label=written.get("label", by_path.short_name(name) if written.get("witness") else name),
        package=package,
        module=written.get("module", package),
        requirement=written.get("requirement", package),
        settings=written.get("settings", {key: f"${{{key}}}" for key in shared}),
        neutral=written.get("neutral", {}),
        group=written.get("group", {}),
        witness=written.get("witness", False),
        differentiates_gradients=written.get("differentiates_gradients", False),
        differs=written.get("differs", ""),
    )


def overrides(algorithm: Algorithm, given: Iterable[str]) -> list[str]:
    """The overrides of `sobench run` for the problem and the first implementation: the defaults, then what is given.

    Raises UsageError for a setting that is neither one of the problem nor one that the implementations share.
    """
    stated = list(given)
    for word in stated:
        _check(word, algorithm)
    keys = {word.partition("=")[0] for word in stated}
    first = {f"optimizer.{key}": value for key, value in {**algorithm.settings, **algorithm.first.neutral}.items()}
    defaults = {"dtype": "float64", "optimizer": algorithm.first.name, **first}
    return [*(f"{key}={_written(value)}" for key, value in defaults.items() if key not in keys), *stated]


def shared(algorithm: Algorithm, optimizer: Mapping[str, Any]) -> dict[str, Any]:
    """The values of the shared settings among those of the first implementation."""
    return {key: optimizer[key] for key in algorithm.settings}


def _check(word: str, algorithm: Algorithm) -> None:
    key, _, value = word.partition("=")
    group, _, leaf = key.partition(".")
    if group in PROBLEM or (group == "optimizer" and leaf in algorithm.settings):
        return
    if leaf and group == "optimizer":
        reason = "no such setting"
        if leaf in files.group_defaults("optimizer", algorithm.first.name):
            reason = f"got {value}, the other implementations of {algorithm.name} have no counterpart"
        raise UsageError(f"{key}: {reason}; {registry.suggestion(leaf, algorithm.settings)}")
    if key == "optimizer":
        raise UsageError(f"{word}: parity {algorithm.name} has its own; allowed: optimizer.KEY=VALUE for a shared KEY")
    raise UsageError(f"{word}: parity has no such setting; allowed: steps, {', '.join(PROBLEM)}, optimizer.KEY")


def _written(value: Any) -> str:
    """A value as an override has it."""
    if isinstance(value, list):
        return f"[{','.join(map(_written, value))}]"
    words = {None: "null", True: "true", False: "false"}
    return words[value] if value is None or isinstance(value, bool) else str(value)
