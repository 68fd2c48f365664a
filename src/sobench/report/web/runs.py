"""The runs behind a page: each configuration with its seeds, its states and the command that makes it again."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sobench.report.facts import commit_text


@dataclass(frozen=True)
class Runs:
    """The runs of a configuration. cell: its hash; a run is "<cell>-<seed>". name: for people. about: the states of the
    runs that are not done, and the commits, if the runs of the page have several. command: "" if the settings were not
    recorded."""

    cell: str
    name: str
    about: str
    command: str


def runs_of(origin: Mapping[str, Any], names: Mapping[str, str]) -> list[Runs]:
    """The configurations of a provenance, in its order. names: of those that have one, by their hash."""
    by_cell: dict[str, list[Mapping[str, Any]]] = {}
    for run in origin["runs"]:
        by_cell.setdefault(run["cell"], []).append(run)
    found, several = [], len({run["commit"] for run in origin["runs"]}) > 1
    for cell, runs in by_cell.items():
        about = (origin.get("cells") or {}).get(cell)
        states = Counter(run["status"] for run in runs if run["status"] != "done")
        commits = dict.fromkeys(commit_text(run["commit"]) for run in runs) if several else {}
        name = names.get(cell) or f"{runs[0]['optimizer']} on {runs[0]['dataset']}"
        facts = [*(f"{number} {state}" for state, number in states.items()), *(f"code {text}" for text in commits)]
        command = _command(origin, about["overrides"], [run["seed"] for run in runs]) if about else ""
        found.append(Runs(cell, name, ", ".join(facts), command))
    return found


def beginning(runs: Sequence[Runs]) -> tuple[str, list[str]]:
    """The words that all commands share, and the other words of each run's command: a page writes the first once.

    A word sets something, so that the order of words after the first three does not matter.
    """
    commands = [shlex.split(run.command) for run in runs]
    known = [set(words) for words in commands if words]
    shared = set.intersection(*known) if len(known) > 1 else set()
    first = next((words for words in commands if words), [])
    own = [shlex.join(word for word in words if word not in shared) for words in commands]
    return shlex.join(word for word in first if word in shared), own


def _command(origin: Mapping[str, Any], overrides: list[str], seeds: list[int]) -> str:
    """The command that makes the runs of one configuration, and no others: none of the cells of its experiment."""
    experiment = [f"experiment={origin['experiment']}", "hydra.sweeper.cells=[]"] if origin["experiment"] else []
    words = [word for word in overrides if not word.startswith("seed=")]
    return shlex.join(["sobench", "run", "-m", *experiment, *words, f"seed={','.join(map(str, sorted(seeds)))}"])
