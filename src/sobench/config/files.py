"""The YAML files of conf/: their folders, the config groups and keys that they define, their descriptions. No torch.

There are two folders. The user's own, `own_conf_dir`, is searched before that of sobench, `conf_dir`: by these
functions, and by Hydra (see `hydra_plugins.sobench.search_path`).
"""

from __future__ import annotations

import os
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
GROUPS = ("dataset", "model", "optimizer", "schedule", "budget", "logger", "instrument")
LISTED = (
    *("datasets", "models", "optimizers", "losses", "metrics", "schedules", "budgets", "loggers", "instruments"),
    *("experiments", "suites", "reports", "parity"),
)
"""What `sobench list` lists, and `sobench show` looks in."""

OWN = "SOBENCH_CONF"
"""The environment variable that names the user's own folder; else it is conf/ of the working folder."""

TUNED = "tuned"
"""The folder of the settings that `sobench tune` chose, in each of the folders of YAML files."""

PRIMARY = "config.yaml"
"""The settings of every run. A folder that has such a file is that of sobench, or of another Hydra application."""


# Folders


@cache
def conf_dir() -> Path:
    """The folder of sobench's YAML files: inside an installed package, or at the top of a checkout."""
    packaged = PACKAGE / "conf"
    return packaged if packaged.is_dir() else CHECKOUT / "conf"


def own_conf_dir() -> Path | None:
    """The user's own folder of YAML files, an absolute path: SOBENCH_CONF, else conf/ of the working folder.

    None if there is none: conf/ is taken if it has YAML files and is not that of sobench or of another application.
    Raises UsageError if SOBENCH_CONF names no such folder.
    """
    if named := os.environ.get(OWN):
        folder = _absolute(named)
        return None if _is_ours(folder) else _checked(folder)
    if not os.path.isdir("conf"):
        return None
    folder = _absolute("conf")
    if not _has_yaml(folder, folder.stat().st_mtime_ns):
        return None
    if (folder / PRIMARY).is_file():
        if not (folder / "hydra/sweeper/sobench.yaml").is_file():  # else it is that of a checkout
            _warn_of_application(folder)
        return None
    return folder


def conf_dirs() -> list[Path]:
    """The folders of YAML files in the order in which they are searched: the user's own, if any, and sobench's."""
    own = own_conf_dir()
    return [own, conf_dir()] if own else [conf_dir()]


def conf_dir_to_write() -> Path:
    """The folder for files that a command writes: the user's own, which may have to be made.

    In a checkout of sobench it is that of sobench. Raises UsageError if conf/ belongs to another application, or to an
    installed sobench.
    """
    if own := own_conf_dir():
        return own
    folder = _absolute(os.environ.get(OWN) or "conf")
    if _is_ours(folder):
        if conf_dir().is_relative_to(PACKAGE):
            raise UsageError(f"{folder} belongs to the installed sobench; allowed: {OWN}=DIR, a folder of your own")
        return conf_dir()
    if (folder / PRIMARY).is_file():
        raise UsageError(f"{folder} belongs to another application; allowed: {OWN}=DIR, a folder of your own")
    return folder


def find(name: str) -> Path | None:
    """The file of a name such as "optimizer/sgd", the user's own before that of sobench; None if there is none."""
    files = (folder / f"{name}.yaml" for folder in conf_dirs())
    return next((file for file in files if file.is_file()), None)


def origin(name: str) -> str:
    """The user's own folder if the file of a name is in it, else ""."""
    file, own = find(name), own_conf_dir()
    return str(own) if file and own and file.is_relative_to(own) else ""


def replaced() -> list[str]:
    """The names of the files of sobench that files of the user's own replace. Tuned settings are joined instead."""
    own = own_conf_dir()
    names = (file.relative_to(own) for file in own.rglob("*.yaml")) if own else ()
    ours = [name for name in names if name.parts[0] != TUNED and (conf_dir() / name).is_file()]
    return sorted(name.with_suffix("").as_posix() for name in ours)


def _absolute(folder: str) -> Path:
    return Path(os.path.abspath(os.path.expanduser(folder)))


def _is_ours(folder: Path) -> bool:
    return folder.resolve() == conf_dir().resolve()


def _checked(folder: Path) -> Path:
    """The folder that SOBENCH_CONF names. Raises UsageError if it cannot be one of the user's own."""
    if not folder.is_dir():
        reason = "is a file" if folder.exists() else "does not exist"
    elif (folder / PRIMARY).is_file():
        reason = f"has a file {PRIMARY}, which only sobench has"
    elif not _has_yaml(folder, folder.stat().st_mtime_ns):
        reason = "has no YAML file"
    else:
        return folder
    raise UsageError(f"{OWN}: {folder} {reason}; allowed: a folder with files such as experiment/mine.yaml")


@cache
def _has_yaml(folder: Path, changed: int) -> bool:
    return next(folder.rglob("*.yaml"), None) is not None


@cache
def _warn_of_application(folder: Path) -> None:
    registry.warn(
        f"{folder / PRIMARY}: the folder belongs to another application and is not searched; "
        f"{OWN}=DIR names a folder for sobench"
    )


# Files


def read(file: Path) -> dict[str, Any]:
    """The contents of a file as they are written, interpolations unresolved. Raises UsageError if it has no keys."""
    return _read(file, file.stat().st_mtime_ns)


@cache
def _read(file: Path, changed: int) -> dict[str, Any]:
    from omegaconf import OmegaConf

    contents = OmegaConf.to_container(OmegaConf.load(file), resolve=False)
    if not isinstance(contents, dict):
        raise UsageError(f"{file}: got a list, allowed: keys and values")
    return {str(key): value for key, value in contents.items()}


def group_defaults(group: str, name: str) -> dict[str, Any]:
    """The keys and defaults of `group=name`: from its YAML file, or from the signature of a plug-in.

    The keys that every member of the group has, such as optimizer.groups, are left out: see `common`. Raises UsageError
    for a name that the group does not have.
    """
    if file := find(f"{group}/{name}"):
        others = {"defaults", *common(group)}
        return {key: value for key, value in read(file).items() if key not in others}
    if registry.is_member(group, name):
        from sobench.config import signature

        return signature.defaults(group, name)
    raise UsageError(f"{group}.name: got {name!r}, {suggestion_for(group, name)}")


def common(group: str) -> dict[str, Any]:
    """The keys of a config group that every member has, with their defaults: those that conf/config.yaml states."""
    node = read(conf_dir() / PRIMARY).get(group)
    return node if isinstance(node, dict) else {}


def of_experiment(name: str) -> dict[str, Any]:
    """The settings that an experiment's file states, by their dotted paths, with those of the experiments it builds on.

    Groups that it chooses are there as `dataset.name`. {} for an experiment without a file.
    """
    file = find(f"experiment/{name}")
    if file is None:
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
    """The names that may be chosen in a config group: its files, at any depth, and what is installed."""
    warn_of_hidden(group)
    folders = [folder / group for folder in conf_dirs()]
    files = ((folder, file) for folder in folders for file in folder.rglob("*.yaml"))
    names = {file.relative_to(folder).with_suffix("").as_posix() for folder, file in files}
    return sorted(names.union(registry.members(group)))


@cache
def warn_of_hidden(group: str) -> None:
    """Warn, once for a process, of each entry point of another package whose name is that of a preset of sobench.

    The preset is used, so that a name means the same wherever it is run; the other one has its path.
    """
    kind = registry.KINDS.get(group, "")
    for name, entry in registry.entries(kind).items() if kind else ():
        file = conf_dir() / group / f"{name}.yaml"
        if registry.is_ours(entry) or not file.is_file():
            continue
        preset = read(file).get("name", name)
        if preset != name:
            registry.warn_of_two(kind, name, preset, entry.value)


def is_member(group: str, name: str) -> bool:
    """Whether a name may be chosen in a config group, or is meant as a path, which has messages of its own."""
    return name in members(group) or registry.is_member(group, name)


def suggestion_for(group: str, got: Any) -> str:
    """The end of a message about a value that is no member of a config group."""
    listing = f"sobench list {registry.KINDS.get(group, f'{group}s')}"
    return registry.suggestion(got, members(group), listing if listing.split()[-1] in LISTED else "")


def about(name: str) -> str:
    """The first comment line of a configuration file, "" if it has none: `about("optimizer/sgd")`."""
    file = find(name)
    lines = file.read_text().splitlines() if file else []
    return next((line.removeprefix("# ") for line in lines if line.startswith("# ") and "@package" not in line), "")


def written_keys(name: str) -> list[str]:
    """The keys of a configuration file as they are written, with two levels dotted; [] without a file.

    For completion at a prompt, which has no time to read YAML: `written_keys("optimizer/sgd")`.
    """
    file = find(name)
    keys, above = [], ""
    for line in file.read_text().splitlines() if file else []:
        if match := re.match(r"(  )?([A-Za-z_]\w*):", line):
            nested, key = match.groups()
            above = above if nested else key
            keys += [f"{above}.{key}" if nested else key]
    parents = {key.partition(".")[0] for key in keys if "." in key}
    return [key for key in keys if key not in parents]


def comments(name: str) -> dict[str, str]:
    """The comment behind each key of a configuration file, {} without a file: `comments("optimizer/sgd")`."""
    file = find(name)
    lines = file.read_text().splitlines() if file else []
    found = (re.match(r"(\w+):.*? # (.*)", line) for line in lines)
    return {match[1]: match[2].strip() for match in found if match}


def chosen(overrides: Sequence[str]) -> dict[str, str]:
    """The member of each config group: chosen by the overrides, else by their experiment, else the default.

    A group is left out if the cells or the grid of the experiment choose several members of it.
    """
    matches = (re.fullmatch(r"(\w+)=([\w./: -]+)", override) for override in overrides)
    named = {match[1]: match[2] for match in matches if match}
    defaults = read(conf_dir() / PRIMARY)["defaults"]
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
    nodes = [key for key, value in read(conf_dir() / PRIMARY).items() if isinstance(value, dict)]
    parents = dict.fromkeys([*GROUPS, *(key for key in nodes if key != "hydra")])
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
        return sorted({*read(conf_dir() / PRIMARY), *GROUPS} - {"defaults", "hydra"})
    of_all = {*common(parent)}
    if parent in GROUPS:
        if is_member(parent, chosen.get(parent, "")):
            return sorted(of_all.union(group_defaults(parent, chosen[parent])))
        files = [file for folder in conf_dirs() for file in (folder / parent).glob("*.yaml")]
        return sorted(of_all.union(*map(read, files)) - {"defaults"})
    return sorted(of_all)
