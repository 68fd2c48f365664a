"""The YAML files of conf/: where they are, what groups and keys they define, what they say of themselves. No torch."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from sobench.config import registry
from sobench.errors import UsageError
from sobench.system.files import CHECKOUT, PACKAGE

GROUPS = ("dataset", "model", "optimizer", "schedule", "budget", "logger", "instrument")


@cache
def conf_dir() -> Path:
    """The folder of the YAML files: inside an installed package, or at the top of a checkout."""
    packaged = PACKAGE / "conf"
    return packaged if packaged.is_dir() else CHECKOUT / "conf"


@cache
def read(file: Path) -> dict[str, Any]:
    """A file as it is written, interpolations unresolved."""
    return OmegaConf.to_container(OmegaConf.load(file), resolve=False)


def group_defaults(group: str, name: str) -> dict[str, Any]:
    """The keys and defaults of `group=name`: its YAML file, or a plug-in's constructor."""
    file = conf_dir() / group / f"{name}.yaml"
    if file.is_file():
        return read(file)
    if group == "optimizer" and name in registry.entries("optimizers"):
        from sobench.config.signature import optimizer_defaults

        return optimizer_defaults(name)
    raise UsageError(f"{group}.name: got {name!r}, {registry.suggestion(name, members(group))}")


def members(group: str) -> list[str]:
    """The names that may be chosen in a config group: of its files, at any depth, and of the optimizers installed."""
    folder = conf_dir() / group
    names = {file.relative_to(folder).with_suffix("").as_posix() for file in folder.rglob("*.yaml")}
    return sorted(names.union(registry.entries("optimizers") if group == "optimizer" else ()))


def about(name: str) -> str:
    """What a configuration file says of itself in its first comment, '' without one: `about("optimizer/sgd")`."""
    file = conf_dir() / f"{name}.yaml"
    lines = file.read_text().splitlines() if file.is_file() else []
    return next((line.removeprefix("# ") for line in lines if line.startswith("# ") and "@package" not in line), "")


def chosen(words: Sequence[str]) -> dict[str, str]:
    """The member of each group that the words of a command line choose, or that is the default where no experiment is named."""
    named = dict(found.groups() for word in words if (found := re.fullmatch(r"(\w+)=([\w./-]+)", word)))
    defaults = {} if "experiment" in named else read(conf_dir() / "config.yaml")["defaults"]
    return {k: v for entry in defaults if isinstance(entry, dict) for k, v in entry.items()} | named


def known_keys(parent: str, chosen: Mapping[str, str]) -> list[str]:
    """The keys under a dotted path, of the whole configuration ('') or of the member of a group that is chosen, else of any."""
    if parent == "":
        return sorted({*read(conf_dir() / "config.yaml"), *GROUPS} - {"defaults", "hydra"})
    if parent in GROUPS:
        if chosen.get(parent) in members(parent):
            return sorted(group_defaults(parent, chosen[parent]))
        return sorted({key for file in (conf_dir() / parent).glob("*.yaml") for key in read(file)})
    node = read(conf_dir() / "config.yaml").get(parent)
    return sorted(node) if isinstance(node, dict) else []
