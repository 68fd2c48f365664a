"""The YAML files of conf/: their folder, the config groups and keys that they define, their descriptions. No torch."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from sobench.config import registry
from sobench.errors import UsageError
from sobench.system.files import CHECKOUT, PACKAGE

NOT_IDENTITY = (
    "threads",
    "checkpoint",
    "progress",
    "runs",
    "reports",
    "data",
    "budgets",
    "logger",
    "experiment",
    "gpu",
    "isolate",
    "slots",
    "wait",
    "sweep",
    "timeout",
    "longest_step",
    "rerun",
)
"""Top-level keys that cannot change a run's result."""
LISTED = ("dataset", "model", "optimizer", "experiment")
"""The config groups whose members `sobench list` prints."""
GROUPS = ("dataset", "model", "optimizer", "schedule", "budget", "logger", "instrument")


@cache
def conf_dir() -> Path:
    """The folder of the YAML files: inside an installed package, or at the top of a checkout."""
    packaged = PACKAGE / "conf"
    return packaged if packaged.is_dir() else CHECKOUT / "conf"


@cache
def read(file: Path) -> dict[str, Any]:
    """The contents of a file as they are written, interpolations unresolved."""
    from omegaconf import OmegaConf

    contents = OmegaConf.to_container(OmegaConf.load(file), resolve=False)
    assert isinstance(contents, dict)
    return {str(key): value for key, value in contents.items()}


def group_defaults(group: str, name: str) -> dict[str, Any]:
    """The keys and defaults of `group=name`: from its YAML file, or from the signature of a plug-in's constructor.

    Raises UsageError for a name that the group does not have.
    """
    file = conf_dir() / group / f"{name}.yaml"
    if file.is_file():
        return read(file)
    if group == "optimizer" and name in registry.entries("optimizers"):
        from sobench.config.signature import optimizer_defaults

        return optimizer_defaults(name)
    raise UsageError(f"{group}.name: got {name!r}, {suggestion_for(group, name)}")


def of_experiment(name: str) -> dict[str, Any]:
    """The settings that an experiment's file states, by their dotted paths, with those of the experiments it builds on.

    Groups that it chooses are there as `dataset.name`. {} for an experiment without a file.
    """
    file = conf_dir() / "experiment" / f"{name}.yaml"
    if not file.is_file():
        return {}
    contents = dict(read(file))
    stated: dict[str, Any] = {}
    for entry in contents.pop("defaults", []):
        if isinstance(entry, str) and entry.startswith("/experiment/"):
            stated |= of_experiment(entry.removeprefix("/experiment/").partition("@")[0])
        elif isinstance(entry, dict):
            ((key, member),) = entry.items()
            stated[f"{key.removeprefix('override /')}.name"] = member
    return stated | dict(flat(contents))


def flat(settings: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """The settings by their dotted paths."""
    for key, value in settings.items():
        if isinstance(value, dict) and value:
            yield from flat(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", value


def members(group: str) -> list[str]:
    """The names that may be chosen in a config group: its files, at any depth, and the installed optimizers."""
    folder = conf_dir() / group
    names = {file.relative_to(folder).with_suffix("").as_posix() for file in folder.rglob("*.yaml")}
    return sorted(names.union(registry.entries("optimizers") if group == "optimizer" else ()))


def suggestion_for(group: str, got: Any) -> str:
    """The end of a message about a value that is no member of a config group."""
    listing = f"sobench list {registry.KINDS.get(group, f'{group}s')}"
    return registry.suggestion(got, members(group), listing if group in LISTED else "")


def about(name: str) -> str:
    """The first comment line of a configuration file, "" if it has none: `about("optimizer/sgd")`."""
    file = conf_dir() / f"{name}.yaml"
    lines = file.read_text().splitlines() if file.is_file() else []
    return next((line.removeprefix("# ") for line in lines if line.startswith("# ") and "@package" not in line), "")


def written_keys(name: str) -> list[str]:
    """The keys of a configuration file as they are written, with two levels dotted; [] without a file.

    For completion at a prompt, which has no time to read YAML: `written_keys("optimizer/sgd")`.
    """
    file = conf_dir() / f"{name}.yaml"
    keys, above = [], ""
    for line in file.read_text().splitlines() if file.is_file() else []:
        if match := re.match(r"(  )?([A-Za-z_]\w*):", line):
            nested, key = match.groups()
            above = above if nested else key
            keys += [f"{above}.{key}" if nested else key]
    parents = {key.partition(".")[0] for key in keys if "." in key}
    return [key for key in keys if key not in parents]


def comments(name: str) -> dict[str, str]:
    """The comment behind each key of a configuration file, {} without a file: `comments("optimizer/sgd")`."""
    file = conf_dir() / f"{name}.yaml"
    lines = file.read_text().splitlines() if file.is_file() else []
    found = (re.match(r"(\w+):.*? # (.*)", line) for line in lines)
    return {match[1]: match[2].strip() for match in found if match}


def chosen(overrides: Sequence[str]) -> dict[str, str]:
    """The member of each config group: chosen by the overrides, else by their experiment, else the default.

    A group is left out if the cells or the grid of the experiment choose several members of it.
    """
    matches = (re.fullmatch(r"(\w+)=([\w./-]+)", override) for override in overrides)
    named = {match[1]: match[2] for match in matches if match}
    defaults = read(conf_dir() / "config.yaml")["defaults"]
    by_default = {group: name for entry in defaults if isinstance(entry, dict) for group, name in entry.items()}
    if "experiment" not in named:
        return by_default | named
    stated = of_experiment(named["experiment"])
    own = {key.removesuffix(".name"): str(value) for key, value in stated.items() if key.endswith(".name")}
    cells = [setting.partition("=")[0] for cell in stated.get("hydra.sweeper.cells") or () for setting in cell]
    swept = {*cells, *(key.removeprefix("hydra.sweeper.params.") for key in stated)}
    return {group: name for group, name in (by_default | own).items() if group not in swept} | named


def paths(chosen: Mapping[str, str]) -> list[str]:
    """The dotted paths of all settings below a group or another node of the configuration; `chosen` as `known_keys`."""
    nodes = [key for key, value in read(conf_dir() / "config.yaml").items() if isinstance(value, dict)]
    parents = [*GROUPS, *(key for key in nodes if key != "hydra")]
    return [f"{parent}.{key}" for parent in parents for key in known_keys(parent, chosen) if key != "name"]


def listing_of_keys(parent: str, member: str | None = None) -> str:
    """The command that prints the keys below a dotted path, of this member of a config group; "" without one."""
    if parent == "":
        return "sobench run --cfg job"
    return f"sobench show {member}" if parent == "optimizer" and member else ""


def known_keys(parent: str, chosen: Mapping[str, str]) -> list[str]:
    """The keys below a dotted path; for "", those of the whole configuration.

    For a config group, they are the keys of the member in `chosen`, or of all members where it is not known.
    """
    if parent == "":
        return sorted({*read(conf_dir() / "config.yaml"), *GROUPS} - {"defaults", "hydra"})
    if parent in GROUPS:
        if chosen.get(parent) in members(parent):
            return sorted(group_defaults(parent, chosen[parent]))
        return sorted({key for file in (conf_dir() / parent).glob("*.yaml") for key in read(file)})
    node = read(conf_dir() / "config.yaml").get(parent)
    return sorted(node) if isinstance(node, dict) else []
