"""Where the report of an artifact is written, and the settings by which its folder is named."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from sobench.cli.arguments import selecting
from sobench.cli.by_need import Asked
from sobench.config.run import Run


def write_report(name: str, its: Asked, overrides: Sequence[str]) -> list[Path]:
    """Write one report from the results that there are; its files, the page first. Raises Failure without a result."""
    from sobench.report import write

    folder, root = folder_of(name, its.declared, overrides), Path(its.declared[0].config["runs"])
    return write(name, its.runs, root, folder, settings=selecting(overrides), looks=its.looks)


def folder_of(name: str, runs: Sequence[Run], overrides: Sequence[str]) -> Path:
    """reports/<paper>/<artifact>/<budget>,<other settings that select the runs>"""
    config = runs[0].config
    changed = sorted(override for override in selecting(overrides) if not override.startswith("budget="))
    variant = ",".join([config["budget"]["name"], *changed])
    return Path(config["reports"]) / name / re.sub(r"[^A-Za-z0-9=,._-]+", "-", variant)
