"""One run directory, or the folder of one report, as a run of wandb. Imported by the process that mirrors, and by no other."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import wandb
import yaml
from filelock import FileLock

from sobench.results.loggers.base import named
from sobench.results.loggers.wandb.remote_state import Known, offline
from sobench.results.loggers.wandb.worker import POLL, Worker
from sobench.results.rundir import KEEPS

AXES = ("step", "epoch", "work", "seconds")
"""What a curve may be drawn against; step is what wandb takes unless a panel says another."""

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
"""wandb's own settings: it records nothing but what it is told. The rest may hold a command line, an environment, a user."""


def mirror(worker: Worker, message: dict[str, Any], over: Callable[[], bool]) -> int:
    """Mirror the rows of a run that wandb does not have, until `over()`; how many they were.

    The number of a row is wandb's step: a server, or the files of a run that was offline, say from where to go on. The lock
    is for the process of a run that was killed, which may still be at its end when the run goes on.
    """
    directory, written = Path(message["directory"]), 0
    about = _json(directory / "run.json")
    folder = Path(worker.settings["folder"])
    folder.joinpath("locks").mkdir(parents=True, exist_ok=True)  # wandb would take a temporary folder instead
    with FileLock(folder / "locks" / about["id"], timeout=worker.settings["timeout"]):
        with worker.within("starting a run"):
            run = _begin(worker, **_about(about, directory, message))
        first = (
            run.starting_step if worker.settings["mode"] == "online" else offline(folder, about["id"])[about["id"]].rows
        )
        for axis in AXES:
            run.define_metric(axis)
        run.define_metric("*", step_metric="step")
        for number, row in rows(directory / "metrics.jsonl", over):
            if number >= first:
                run.log(named(row), step=number)
                written += 1
        _end(worker, run, _json(directory / "summary.json"))
    return written


def _about(about: dict[str, Any], directory: Path, message: dict[str, Any]) -> dict[str, Any]:
    """What a run is, in wandb's words: its id is the run's hash, its group the cell's."""
    config = yaml.safe_load((directory / "config.yaml").read_text())
    groups = [config[group]["name"] for group in ("dataset", "model", "optimizer")]
    return {
        "id": about["id"],
        "group": about["cell"],
        "job_type": "train",
        "name": message.get("name") or " ".join([*groups, f"seed {about['seed']}"]),
        "tags": _tags(message.get("experiment") or config.get("experiment")),
        "config": config
        | {"id": about["id"], "cell": about["cell"], "environment": _json(directory / "environment.json")},
    }


def _end(worker: Worker, run, summary: dict[str, Any]) -> None:
    with worker.within("finishing a run"):
        run.summary.update(summary)
        run.finish(exit_code=0 if summary.get("status") in KEEPS else 1)


def mirror_report(worker: Worker, message: dict[str, Any], known: Known) -> bool:
    """The tables, figures and claims of a report as an artifact, unless wandb has the same; whether it was written."""
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
    """Number and contents of each whole row of a record that may still grow, until `over()` and the end of the file."""
    number, rest = 0, b""
    with open(path, "rb") as file:
        while True:
            last = over()  # asked before reading: all that was written until then is read
            *lines, rest = (rest + file.read()).split(b"\n")
            for number, line in enumerate(lines, number):
                yield number, json.loads(line)
            number += len(lines) > 0
            if last:
                return
            time.sleep(POLL)


def _begin(worker: Worker, **about: Any):
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
    """The paper, and the artifact that asked for the run."""
    return [experiment.split("/")[0], experiment] if experiment else []


def _json(path: Path) -> dict[str, Any]:
    """What a file of the run holds; nothing if it is not there yet."""
    return json.loads(path.read_bytes()) if path.exists() else {}
