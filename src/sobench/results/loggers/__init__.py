"""Loggers: copies of a run's record in other formats, by the names of conf/logger/. No torch."""

from __future__ import annotations

LOGGERS = {
    "csv": "sobench.results.loggers.csv_file:CsvFile",
    "tensorboard": "sobench.results.loggers.event_files:EventFiles",
    "wandb": "sobench.results.loggers.wandb.process:Wandb",
}
"""Name -> class, imported when it is chosen, so that a broken or slow logger does not affect the others."""
