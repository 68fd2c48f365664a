"""The origin of each setting of a report's cells: command line, tuning or experiment; all others are defaults."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from sobench.config import tuning
from sobench.config.files import GROUPS, NOT_IDENTITY, of_experiment
from sobench.config.plugins import COMPANIONS
from sobench.config.run import Run

COMMAND, TUNED, EXPERIMENT = "command line", "tuned", "experiment"
OF_TUNING = ("metric", "better", "seeds", "trials", "edge")
"""What a report says of a choice by tuning."""
_OTHERS = ("dataset.name", "dataset.set", "seed", "experiment")
_OTHER_GROUPS = ("budget", "budgets", "instrument", "evaluate", "log", "logger", "device")


@cache
def is_of_method(key: str) -> bool:
    """Whether a setting can be one of a method, and not of its data, its budget or the record."""
    return key.startswith(f"{COMPANIONS}.") or (
        key not in _OTHERS and key.partition(".")[0] not in (*_OTHER_GROUPS, *NOT_IDENTITY)
    )


def origins(runs: Sequence[Run], experiment: str | None, command: Sequence[str]) -> dict[str, dict[str, Any]]:
    """By cell: `origins`, of each setting that is not a default; and `tuned`, the choice by tuning that it uses.

    command: the settings of the command line that asked for the runs.
    """
    stated = of_experiment(experiment) if experiment else {}
    given = {_key(setting) for setting in command}
    file = _tuned_file(stated, command)
    entries = tuning.entries(file) if file else []
    found = {}
    for cell, run in {run.cell: run for run in runs}.items():
        names = {_key(setting) for setting in run.overrides} | given | {*stated}
        origin = {key: COMMAND if key in given else EXPERIMENT for key in names}
        entry = _entry(run, entries, given)
        tuned = {key for key, value in entry.get("values", {}).items() if run.settings.get(key) == value} - given
        origin |= dict.fromkeys(tuned, TUNED)
        found[cell] = {"origins": {key: origin[key] for key in run.settings if key in origin and is_of_method(key)}}
        if tuned:
            about = {key: entry[key] for key in OF_TUNING if key in entry}
            found[cell]["tuned"] = {"file": f"conf/tuned/{file}.yaml", **about}
    return found


def _key(setting: str) -> str:
    """The path of the setting of an override: "optimizer.lr"; of a choice in a group, "optimizer.name"."""
    key = setting.partition("=")[0].lstrip("+")
    return f"{key}.name" if key in GROUPS else key


def _tuned_file(stated: Mapping[str, Any], command: Sequence[str]) -> str | None:
    """The name of the file of tuned settings that the experiment uses, if the command line names no other."""
    key = "hydra.sweeper.tuned"
    given = [setting.partition("=")[2] for setting in command if _key(setting) == key]
    name = given[-1] if given else stated.get(key)
    return None if name in (None, "null") else str(name)


def _entry(run: Run, entries: Sequence[Mapping[str, Any]], given: set[str]) -> Mapping[str, Any]:
    """The entry of the tuned settings that is nearest to the run's cell; empty if there is none.

    Settings of the command line have replaced those of the cell, so they are not compared; groups are.
    """
    replaced = given - {f"{group}.name" for group in GROUPS}
    by_cell = {
        frozenset(setting for setting in entry["cell"] if _key(setting) not in replaced): entry for entry in entries
    }
    near = tuning.nearest(run.overrides, by_cell)
    return by_cell[near] if near is not None else {}
