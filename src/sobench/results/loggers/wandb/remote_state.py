"""The state of each run at wandb, from the files that wandb wrote (offline) or from its server (online)."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sobench.results.loggers.wandb.worker import Worker


@dataclass
class Known:
    """One run of the project at wandb.

    steps: how often wandb has each row; digests: of the run's artifacts (both offline only). rows: the number of rows.
    copies: the number of wandb runs that hold this run.
    """

    steps: Counter = field(default_factory=Counter)
    digests: set[str] = field(default_factory=set)
    rows: int = 0
    finished: bool = False
    copies: int = 1

    @property
    def repeated(self) -> int:
        return sum(times - 1 for times in self.steps.values())


def records(file: Path) -> Iterator[dict[str, Any]]:
    """The records of a .wandb file, as wandb's own reader prints them; of a damaged file, those before the damage."""
    from wandb.util import get_core_path

    arguments = [
        get_core_path(),
        "leet",
        "inspect",
        "--no-observability",
        "--json",
        "--run-file",
        str(file),
        str(file.parent),
    ]
    done = subprocess.run(arguments, capture_output=True, text=True, errors="replace")
    for line in done.stdout.splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            return
        if not isinstance(record, dict):
            return
        yield record


def offline_files(folder: Path | str, run_id: str | None = None) -> list[Path]:
    """The files that wandb wrote offline, of one run or of all, oldest first: one for each start of a run."""
    pattern = f"offline-run-*-{run_id}*/run-{run_id}.wandb" if run_id else "offline-run-*/run-*.wandb"
    return sorted(Path(folder, "wandb").glob(pattern), key=lambda file: file.parent.name)


def offline(folder: Path | str, run_id: str | None = None) -> dict[str, Known]:
    """The state of one run or of all, by id, from the files."""
    found: dict[str, Known] = {}
    files = offline_files(folder, run_id)
    with ThreadPoolExecutor(4) as pool:  # each thread waits for the reader process of one file
        for file, lines in zip(files, pool.map(lambda file: list(records(file)), files), strict=True):
            known = found.setdefault(file.stem.removeprefix("run-"), Known())
            known.steps.update(line["history"]["step"].get("num", 0) for line in lines if line["type"] == "history")
            known.digests.update(line["artifact"]["digest"] for line in lines if line["type"] == "artifact")
            known.rows = max(known.steps, default=-1) + 1
            known.finished = any(line["type"] == "exit" for line in lines)
    return found


def online(settings: Mapping[str, Any], worker: Worker) -> dict[str, Known]:
    """The state of all runs of the project, by id, from the server; a copy has the run's id in its configuration."""
    import wandb

    found: dict[str, Known] = {}
    entity = settings["entity"]
    with worker.within("asking the server"):
        api = wandb.Api({"entity": entity} if entity else None, timeout=max(1, int(settings["timeout"])))
        path = "/".join(filter(None, [entity or api.default_entity, settings["project"]]))
        runs = iter(api.runs(path, per_page=200, include_sweeps=False, lazy=False))
    while run := _next(runs, worker):
        run_id = run.config.get("id", run.id)
        if run_id in found:
            found[run_id].copies += 1
        else:
            found[run_id] = Known(rows=run.historyLineCount, finished=run.state in ("finished", "failed", "crashed"))
    return found


def _next(runs: Iterator[Any], worker: Worker) -> Any:
    """The next run of the server, which sends them in pages; None after the last."""
    with worker.within("asking the server for its runs"):
        try:
            return next(runs, None)
        except ValueError as error:
            if "ould not find project" not in str(error):
                raise
            return None  # no run was mirrored yet
