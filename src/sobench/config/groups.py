"""Parameter groups: parts of a model with an optimizer, or settings, of their own. No torch.

    optimizer.groups: [{match: "ndim == 2 and not output", lr: 0.02}, {match: rest, optimizer: adamw, lr: 0.001}]

A parameter is in the first group that matches it (see `sobench.config.match`), and else in the default group, which has
the run's own optimizer with its settings. A group without `optimizer` has these too, but for the settings that it
states; a group with another optimizer has that one's defaults in their place.

`canonical` writes the groups as they identify a run: what a group states apart from what it does not, which is under
DEFAULTS if it is not the run's own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sobench.config import by_path, files
from sobench.errors import UsageError

KEY = "groups"
"""The key of the groups among the settings of an optimizer."""

DEFAULTS = "defaults"
"""The settings of a group's optimizer that the group does not state. They are filled in."""

OWN_KEYS = ("match", "optimizer", DEFAULTS)
"""The keys of a group that are no settings of its optimizer."""

Settings = Mapping[str, Any]


def groups_of(optimizer: Settings) -> Sequence[dict[str, Any]]:
    """The groups among the settings of an optimizer; none as a rule."""
    return optimizer.get(KEY) or ()


def own(optimizer: Settings) -> dict[str, Any]:
    """The settings of the run's own optimizer, without its groups: those of the default group."""
    return {key: value for key, value in optimizer.items() if key != KEY}


def settings_of(group: Settings, optimizer: Settings) -> dict[str, Any]:
    """All settings of a group, with the `name` of its optimizer. optimizer: the settings with the groups."""
    stated = {key: value for key, value in group.items() if key not in OWN_KEYS}
    return _base(group, optimizer) | stated


def optimizers(optimizer: Settings) -> list[str]:
    """The names of the optimizers that the settings of one choose: its own, and those of its groups."""
    others = (group["optimizer"] for group in groups_of(optimizer) if "optimizer" in group)
    return list(dict.fromkeys([optimizer["name"], *others]))


def canonical(optimizer: Settings) -> dict[str, Any]:
    """The settings of an optimizer with its groups as they identify a run; without groups, the others alone."""
    groups = [_canonical(group, optimizer) for group in groups_of(optimizer)]
    return own(optimizer) | ({KEY: groups} if groups else {})


def _canonical(group: Settings, optimizer: Settings) -> dict[str, Any]:
    match = {"match": " ".join(group["match"].split())}
    if DEFAULTS in group:
        return {**group, **match}
    settings = settings_of(group, optimizer)
    name = settings.pop("name")
    base = own(optimizer) if name == optimizer["name"] else _base(group, optimizer)
    stated = {key: value for key, value in settings.items() if value != base[key]}
    if name == optimizer["name"]:
        return match | stated
    return {**match, "optimizer": name, **stated, DEFAULTS: {k: v for k, v in settings.items() if k not in stated}}


def _base(group: Settings, optimizer: Settings) -> dict[str, Any]:
    """What a group has besides what it states: the run's own settings, or the defaults of another optimizer."""
    name = by_path.portable(group.get("optimizer", optimizer["name"]))
    if DEFAULTS in group:
        return {"name": name, **group[DEFAULTS]}
    return own(optimizer) if name == optimizer["name"] else _defaults(name)


def _defaults(name: str) -> dict[str, Any]:
    """The defaults of an optimizer; of a preset in a YAML file, with those of the files that it builds on."""
    file = files.find(f"optimizer/{name}")
    below = files.read(file).get("defaults", []) if file else []
    parts = [_defaults(entry.rpartition("/")[2]) for entry in below if isinstance(entry, str) and entry != "_self_"]
    settings = {key: value for part in parts for key, value in part.items()} | files.group_defaults("optimizer", name)
    for key, value in settings.items():
        if isinstance(value, str) and "${" in value:
            raise UsageError(f"optimizer.{KEY}: {name} has {key}: {value}, allowed: a preset without interpolations")
    return settings
