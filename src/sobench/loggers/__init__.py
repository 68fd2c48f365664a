"""Mirrors of a run's record, one file each, by the names of conf/logger/. The run directory stays the truth. No torch."""

from __future__ import annotations

import importlib.util

from sobench.errors import UsageError

LOGGERS = {
    "none": "sobench.loggers.base:Logger",
    "csv": "sobench.loggers.csv_file:CsvFile",
    "tensorboard": "sobench.loggers.event_files:EventFiles",
    "wandb": "sobench.loggers.wandb_process:Wandb",
}
"""Name -> class, imported when it is chosen: one that is broken or slow to import is none of the others' affair."""

NEEDS = {"tensorboard": "tensorboard", "wandb": "wandb"}
"""Name -> the package it needs, which is the extra of sobench that brings it."""


def check_installed(name: str) -> None:
    """Raises UsageError if the package that a logger needs is not there."""
    needs = NEEDS.get(name)
    if needs and importlib.util.find_spec(needs) is None:
        raise UsageError(f"logger: {name} needs {needs}; pip install 'sobench[{name}]'")
