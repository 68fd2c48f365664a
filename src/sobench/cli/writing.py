"""Where the report of an artifact is written, and the settings by which its folder is named."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from sobench.cli.by_need import Asked
from sobench.config.run import Run

NOT_OF_A_RESULT = ("runs", "reports", "progress", "threads", "slots", "wait", "data.mirror", "data.cache")
"""Settings that say where and how runs are made, beside those of the logger; they do not select runs."""


def write_report(name: str, its: Asked, overrides: Sequence[str]) -> list[Path]:
    """Write one report from the results that there are; its files, the page first. Raises Failure without a result."""
    from sobench.report import write

    folder, root = folder_of(name, its.declared, overrides), Path(its.declared[0].config["runs"])
    return write(name, its.runs, root, folder, settings=_selecting(overrides), looks=its.looks)


def folder_of(name: str, runs: Sequence[Run], overrides: Sequence[str]) -> Path:
    """reports/<paper>/<artifact>/<budget>,<other settings that select the runs>"""
    config = runs[0].config
    changed = sorted(override for override in _selecting(overrides) if not override.startswith("budget="))
    variant = ",".join([config["budget"]["name"], *changed])
    return Path(config["reports"]) / name / re.sub(r"[^A-Za-z0-9=,._-]+", "-", variant)


def _selecting(overrides: Sequence[str]) -> list[str]:
    """The settings that select the runs, without those that say where and how they are made."""
    return [
        override
        for override in overrides
        if override.split("=")[0] not in NOT_OF_A_RESULT and not re.match(r"logger[.=]", override)
    ]
