"""Copies a run directory, or the folder of a report, to a run of wandb. Only the mirror process imports this module."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import wandb
import yaml
from filelock import FileLock

from sobench.config import names
from sobench.results.loggers.base import named
from sobench.results.loggers.wandb import receipts
from sobench.results.loggers.wandb.remote_state import Known, offline
from sobench.results.loggers.wandb.worker import POLL, Worker
from sobench.results.rundir import KEEPS
from sobench.system.files import parse_json

AXES = ("step", "epoch", "cost/work", "cost/seconds")
"""The x-axes that wandb offers for a curve; step is the default of its panels."""

QUIET = {
    "silent": True,
    "console": "off",
    "symlink": False,
    "disable_git": True,
    "disable_code": True,
    "disable_job_creation": True,
    "x_disable_meta": True,
    "x_disable_stats": True,
    "x_disable_machine_info": True,
    "x_save_requirements": False,
}
"""Settings of wandb: it records only what `mirror` logs, and no command line, environment or user name."""


def mirror(worker: Worker, message: dict[str, Any], over: Callable[[], bool]) -> int:
    """Mirror the rows of a run that wandb does not have, until `over()`; the number of rows written.

    The number of a row is its step at wandb. The server, or the files of an offline run, give the first row to write.
    The lock excludes the mirror process of a killed run, which may still be finishing when the run resumes.
    """
    directory, written, count = Path(message["directory"]), 0, 0
    about = _json(directory / "run.json")
    folder = Path(worker.settings["folder"])
    folder.joinpath("locks").mkdir(parents=True, exist_ok=True)  # wandb would take a temporary folder instead
    with FileLock(folder / "locks" / about["id"], timeout=worker.settings["timeout"]):
        with worker.within("starting a run"):
            run = _begin(worker, **_about(about, directory, message, worker.settings))
        if worker.settings["mode"] == "online":
            first = run.starting_step
        else:
            first = offline(folder, about["id"])[about["id"]].rows
        for axis in AXES:
            run.define_metric(axis)
        run.define_metric("*", step_metric="step")
        for number, row in rows(directory / "metrics.jsonl", over):
            count = number + 1
            if number >= first:
                run.log(named(row), step=number)
                written += 1
        _end(worker, run, _json(directory / "summary.json"))
        receipts.settle(folder, about["id"], count)
    return written


def _about(about: dict[str, Any], directory: Path, message: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    """The arguments of wandb.init for a run. Its id is the run's hash; its group ends with the hash of its cell."""
    config = yaml.safe_load((directory / "config.yaml").read_text())
    problem = " ".join(names.problem(config))
    return {
        "id": about["id"],
        "group": f"{problem} {about['cell'][:6]}",
        "job_type": "train",
        "name": message.get("name") or f"{problem} seed {about['seed']}",
        "tags": [*_tags(message.get("experiment") or config.get("experiment")), *settings["tags"]],
        "notes": settings["notes"],
        "config": config
        | {"id": about["id"], "cell": about["cell"], "environment": _json(directory / "environment.json")},
    }


def _end(worker: Worker, run: wandb.Run, summary: dict[str, Any]) -> None:
    with worker.within("finishing a run"):
        run.summary.update(summary)
        run.finish(exit_code=0 if summary.get("status") in KEEPS else 1)


def mirror_report(worker: Worker, message: dict[str, Any], known: Known) -> bool:
    """Mirror the files of a report as an artifact, unless wandb has the same files; whether it was written."""
    folder, name = Path(message["report"]), message["name"]
    artifact = wandb.Artifact(name.replace("/", "-"), type="report", metadata={"report": name, "variant": folder.name})
    for file in sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")):
        artifact.add_file(str(file), name=file.name, policy="immutable")
    if artifact.digest in known.digests:
        return False
    with worker.within("starting a report"):
        run = _begin(
            worker,
            id=message["id"],
            group=name.split("/")[0],
            job_type="report",
            tags=_tags(name),
            name=f"report {name} {folder.name}",
        )
    with worker.within("uploading a report"):
        run.log_artifact(artifact)
        run.finish()
    return True


def rows(path: Path, over: Callable[[], bool]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Number and contents of each complete row of a growing record, until `over()` and the end of the file."""
    count, rest = 0, b""
    with open(path, "rb") as file:
        while True:
            last = over()  # before the read, which then includes every row written until the run was over
            *lines, rest = (rest + file.read()).split(b"\n")
            for line in lines:
                yield count, parse_json(line)
                count += 1
            if last:
                return
            time.sleep(POLL)


def _begin(worker: Worker, **about: Any) -> wandb.Run:
    settings = worker.settings
    limits = {"init_timeout": settings["timeout"], "finish_timeout": settings["timeout"], "finish_timeout_raises": True}
    return wandb.init(
        project=settings["project"],
        entity=settings["entity"],
        mode=settings["mode"],
        dir=settings["folder"],
        resume="allow",
        reinit="finish_previous",
        settings=wandb.Settings(**QUIET, **limits),
        **about,
    )


def _tags(experiment: str | None) -> list[str]:
    """The tags of a run or report: the paper, and the experiment."""
    return [experiment.split("/")[0], experiment] if experiment else []


def _json(path: Path) -> dict[str, Any]:
    """The contents of a file of the run; empty if the file does not exist yet."""
    return parse_json(path.read_bytes()) if path.exists() else {}
