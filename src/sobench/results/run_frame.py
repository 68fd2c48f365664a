"""Runs as a data frame for people: one row for each run, with its settings, its state and its final metrics."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from sobench.config import names
from sobench.errors import UsageError
from sobench.results.frame import load
from sobench.results.state import state
from sobench.results.status import run_directories
from sobench.system.files import parse_json

ROWS = ("eval", "train")


def frame(root: Path | str = "runs", rows: str | None = None) -> pd.DataFrame:
    """The runs under the folder `root`, one row each.

    Columns: `run` (its id), `cell`, `seed`, `dataset`, `model`, `optimizer`, `status`, `reason`, `directory`; every
    setting that identifies the run, by its dotted path (`optimizer.lr`, `batch_size`); and of a run that is over the
    metrics of its last evaluation (`train_loss`, `test_accuracy`, ...), `steps`, `epochs`, `seconds`, `work` (gradients
    of a sample, in units of the training set) and `timing` (quiet, contended or unknown). What a run does not have is
    NaN.

    rows: "eval" or "train" gives instead a row for each row of that kind in the records (`step`, `epoch`, `seconds`,
    and the metrics), with the same settings. Raises UsageError for another word, and for a folder that does not exist.
    """
    if rows not in (None, *ROWS):
        raise UsageError(f"rows: got {rows!r}, allowed: None, {', '.join(map(repr, ROWS))}")
    if not Path(root).is_dir():
        raise UsageError(
            f"results: no folder {str(root)!r}; allowed: the folder of the runs, as `sobench run` makes it"
        )
    return of_directories([Path(place) for place in run_directories(Path(root))], rows)


def of_directories(directories: list[Path], rows: str | None = None) -> pd.DataFrame:
    """`frame`, of these run directories."""
    found = [about for directory in directories if (about := _about(directory, with_result=rows is None))]
    runs = pd.DataFrame(found)
    if rows is None or runs.empty:
        return runs
    record = load(directories)
    kept = record[record["kind"] == rows].drop(columns=["kind", "cell", "seed", "dataset", "model", "optimizer"])
    kept = kept.drop(columns=["status", "reason"]).dropna(axis="columns", how="all")
    return runs.merge(kept.astype({"run": str}), on="run", how="inner")


def _about(directory: Path, with_result: bool) -> dict[str, Any] | None:
    """The row of a run; None for a directory that does not say which run it has."""
    try:
        run = parse_json((directory / "run.json").read_bytes())
        config = run["config"]
        settings = names.by_path(config)
        problem = {group: settings[group] for group in ("dataset", "model", "optimizer")}
        about = {"run": run["id"], "cell": run["cell"], "seed": run["seed"], **problem}
    except (OSError, ValueError, KeyError, TypeError):
        return None
    current = state(directory)
    about |= {"status": current.status, "reason": current.reason, "directory": str(directory), **settings}
    if not with_result:
        return about
    summary = current.summary
    result = {key: summary.get(key) for key in ("steps", "epochs", "seconds", "work")}
    timing = summary.get("timing")
    return about | dict(summary.get("final", {})) | result | {"timing": (timing or {}).get("quality")}
