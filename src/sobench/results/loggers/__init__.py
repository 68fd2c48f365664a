"""Mirrors of a run's record, one file each, by the names of conf/logger/. The run directory stays the truth. No torch."""

from __future__ import annotations

LOGGERS = {
    "none": "sobench.results.loggers.base:Logger",
    "csv": "sobench.results.loggers.csv_file:CsvFile",
    "tensorboard": "sobench.results.loggers.event_files:EventFiles",
    "wandb": "sobench.results.loggers.wandb.process:Wandb",
}
"""Name -> class, imported when it is chosen: one that is broken or slow to import is none of the others' affair."""
