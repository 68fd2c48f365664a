"""Names of runs for people: data set, model, optimizer, and the settings in which runs that are shown together differ.

    usps mlp sgd lr=0.1, usps mlp sgd lr=0.01, usps mlp adam lr=0.01

The settings are those in which cells of one data set, model and optimizer differ. No torch.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Any, TypeVar

from sobench.config.by_path import is_path, short_name
from sobench.config.files import NOT_IDENTITY, flat
from sobench.config.groups import OWN_KEYS

Cell = TypeVar("Cell")

_SAID = ("dataset.name", "dataset.set", "dataset.path", "dataset.sha256", "model.name", "optimizer.name", "budget.name")
"""Settings that the name of a data set, model or optimizer says, or that identify nothing."""


def problem(settings: Mapping[str, Any]) -> tuple[str, str, str]:
    """The names of the data set, the model and the optimizer of a run with these settings."""
    return (
        dataset(settings["dataset"]),
        short_name(str(settings["model"]["name"])),
        short_name(str(settings["optimizer"]["name"])),
    )


def dataset(chosen: Mapping[str, Any]) -> str:
    """The name of a data set: the set of LIBSVM's, or the user's own file, where the loader reads several."""
    if isinstance(chosen.get("set"), str):
        return chosen["set"]
    if isinstance(chosen.get("path"), str) and chosen["path"]:
        return PurePath(chosen["path"]).stem
    return short_name(str(chosen["name"]))


def by_path(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings by their dotted paths, and the member of each group: {"optimizer": "sgd", "optimizer.lr": 0.1}."""
    members = {key: node["name"] for key, node in settings.items() if isinstance(node, dict) and "name" in node}
    rest = {key: value for key, value in flat(settings) if key.partition(".")[2] != "name"}
    return {**members, "dataset": dataset(settings["dataset"]), **rest}


def names(cells: Mapping[Cell, Mapping[str, Any]]) -> dict[Cell, str]:
    """The name of each cell beside the others, given their configurations or identities."""
    texts: dict[Cell, str] = {}
    for words, keys, own in _problems(cells):
        short = _short(keys)
        for cell, settings in own.items():
            texts[cell] = " ".join([*words, *(f"{short[key]}={_value(value)}" for key, value in settings.items())])
    return {cell: texts[cell] for cell in cells}


def differing(cells: Mapping[Cell, Mapping[str, Any]]) -> dict[Cell, dict[str, Any]]:
    """By dotted paths, the settings in which each cell differs from others of its data set, model and optimizer."""
    return {cell: settings for _, _, own in _problems(cells) for cell, settings in own.items()}


def _problems(
    cells: Mapping[Cell, Mapping[str, Any]],
) -> Iterator[tuple[tuple[str, str, str], list[str], dict[Cell, dict[str, Any]]]]:
    """For each data set, model and optimizer: their names, the settings in which the cells differ, and those of each
    cell."""
    by_problem: dict[tuple[str, str, str], list[Cell]] = defaultdict(list)
    for cell, settings in cells.items():
        by_problem[problem(settings)].append(cell)
    for words, same in by_problem.items():
        settings = {cell: _counted(cells[cell]) for cell in same}
        keys = _differing(list(settings.values()))
        yield words, keys, {cell: {key: own[key] for key in keys if key in own} for cell, own in settings.items()}


def _counted(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that can tell cells apart, by their dotted paths."""
    kept = {key: value for key, value in settings.items() if key not in (*NOT_IDENTITY, "seed")}
    return {key: value for key, value in flat(kept) if key not in _SAID or is_path(value)}


def _differing(cells: Sequence[Mapping[str, Any]]) -> list[str]:
    """The settings in which the cells differ, those of the optimizer first."""
    if len(cells) == 1:
        return []
    keys = {key: None for settings in cells for key in settings}
    differing = [key for key in keys if len({_value(settings.get(key)) for settings in cells}) > 1]
    return sorted(differing, key=lambda key: not key.startswith("optimizer."))


def _short(keys: Sequence[str]) -> dict[str, str]:
    """ "lr" for "optimizer.lr"; the whole path where two have the same end."""
    ends = [key.rpartition(".")[2] for key in keys]
    named = [key.removesuffix(".name").rpartition(".")[2] if end == "name" else end for key, end in zip(keys, ends)]
    return {key: end if named.count(end) == 1 else key for key, end in zip(keys, named)}


def _value(value: Any) -> str:
    """A value as on the command line: 0.001, [100,100], null."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, (list, tuple)):
        return f"[{','.join(map(_value, value))}]"
    if isinstance(value, Mapping) and "match" in value:
        return parameter_group(value)
    return f"{value:g}" if isinstance(value, float) and float(f"{value:g}") == value else str(value)


def parameter_group(group: Mapping[str, Any]) -> str:
    """ "ndim >= 2: muon lr=0.02": what a parameter group states"""
    words = [short_name(group["optimizer"])] if "optimizer" in group else []
    words += [f"{key}={_value(value)}" for key, value in group.items() if key not in OWN_KEYS]
    return f"{group['match']}: {' '.join(words)}".removesuffix(": ")


def part_of_data(budget: Mapping[str, Any]) -> str:
    """ " on at most 1,000 samples of each set", of a budget that takes a part of the data; "" of any other"""
    samples = budget.get("samples")
    return "" if samples is None else f" on at most {samples:,} samples of each set"
