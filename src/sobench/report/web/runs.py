"""The runs behind a page: each configuration with its seeds, its states and the command that makes it again."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sobench.report.facts import commit_text
from sobench.system.text import format_ranges


@dataclass(frozen=True)
class Runs:
    """The runs of a configuration. cell: its hash; a run is "<cell>-<seed>". name: for people. code: its
    commits, if the runs of the page have several. command: "" if the settings were not recorded."""

    cell: str
    name: str
    seeds: str
    states: str
    code: str
    command: str


def runs_of(origin: Mapping[str, Any], names: Mapping[str, str]) -> list[Runs]:
    """The configurations of a provenance, in its order. names: of those that have one, by their hash."""
    by_cell: dict[str, list[Mapping[str, Any]]] = {}
    for run in origin["runs"]:
        by_cell.setdefault(run["cell"], []).append(run)
    found, several = [], len({run["commit"] for run in origin["runs"]}) > 1
    for cell, runs in by_cell.items():
        about = (origin.get("cells") or {}).get(cell)
        states = Counter(run["status"] for run in runs)
        commits = dict.fromkeys(commit_text(run["commit"]) for run in runs) if several else {}
        found.append(
            Runs(
                cell,
                names.get(cell) or f"{runs[0]['optimizer']} on {runs[0]['dataset']}",
                format_ranges({run["seed"] for run in runs}),
                ", ".join(f"{number} {state}" for state, number in states.items()),
                ", ".join(commits),
                _command(origin, about["overrides"], [run["seed"] for run in runs]) if about else "",
            )
        )
    return found


def _command(origin: Mapping[str, Any], overrides: list[str], seeds: list[int]) -> str:
    """The command that makes the runs of one configuration."""
    experiment = [f"experiment={origin['experiment']}"] if origin["experiment"] else []
    words = [word for word in overrides if not word.startswith("seed=")]
    return shlex.join(["sobench", "run", "-m", *experiment, *words, f"seed={','.join(map(str, sorted(seeds)))}"])
