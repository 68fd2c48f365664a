"""What the process that mirrors can be asked to do, each a function of a Worker that returns the exit code."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from sobench.results.loggers.base import one_line
from sobench.results.loggers.wandb.mirror import mirror, mirror_report
from sobench.results.loggers.wandb.process import SAID
from sobench.results.loggers.wandb.remote_state import Known, offline, online
from sobench.results.loggers.wandb.worker import Worker


def follow(worker: Worker) -> int:
    """Mirror runs while they are made. The first that fails is said, and ends it, unless an earlier one was mirrored: then
    it is the run, and not wandb, that has something wrong."""
    mirrored = failed = 0
    for message in worker.messages():
        summary = Path(message["directory"]) / "summary.json"
        try:
            mirror(worker, message, lambda: summary.exists() or worker.more())
            mirrored += 1
        except (Exception, SystemExit) as error:
            if not mirrored:
                worker.give_up(one_line(error))
            if not failed:
                worker.warn(one_line(error))
            failed += 1
    return SAID if failed else 0


def sync(worker: Worker) -> int:
    """Mirror what is not mirrored whole, runs and reports. 1 if something could not be."""
    known, done, failed = _known(worker), 0, 0
    for message in worker.messages():
        where = message.get("directory") or message["report"]
        try:
            if written := _mirror(worker, message, known):
                worker.say(f"mirrored {where}: {written}")
                done += 1
        except (Exception, SystemExit) as error:
            if not done:
                worker.give_up(one_line(error))
            worker.say(f"failed {where}: {one_line(error)}")
            failed += 1
    worker.say(f"{done} mirrored" + (f", {failed} failed" if failed else ""))
    return int(failed > 0)


def _mirror(worker: Worker, message: dict[str, Any], known: dict[str, Known]) -> str | None:
    """What was written of a run or a report, in words; None if wandb has it all."""
    if "report" in message:
        return "its files" if mirror_report(worker, message, known.get(message["id"], Known())) else None
    return f"{mirror(worker, message, lambda: True)} rows" if _wanting(message, known) else None


def verify(worker: Worker) -> int:
    """Say what is missing and what is there twice. 1 if anything is."""
    known, total, wrong = _known(worker), 0, 0
    for message in worker.messages():
        total += 1
        for fault in filter(None, (_wanting(message, known), _twice(message, known))):
            worker.say(f"{message['directory']}: {fault}")
            wrong += 1
    worker.say(f"{total} runs: " + (f"{wrong} fault{'s' * (wrong > 1)}" if wrong else "all mirrored once"))
    return int(wrong > 0)


VERBS: dict[str, Callable[[Worker], int]] = {"follow": follow, "sync": sync, "verify": verify}


def _known(worker: Worker) -> dict[str, Known]:
    settings = worker.settings
    return offline(settings["folder"]) if settings["mode"] == "offline" else online(settings, worker)


def _wanting(message: dict[str, Any], known: dict[str, Known]) -> str | None:
    """What is not there of a run, in words; None if all of it is."""
    found = known.get(message["id"])
    if found is None:
        return "missing"
    if found.rows < message["rows"]:
        return f"{found.rows} of {message['rows']} rows"
    return None if found.finished else "not finished"


def _twice(message: dict[str, Any], known: dict[str, Known]) -> str | None:
    """What is there more than once, in words."""
    found = known.get(message["id"], Known())
    faults = [f"{found.copies} runs of wandb are this one"] if found.copies > 1 else []
    if repeated := found.repeated or max(0, found.rows - message["rows"]):
        faults.append(f"{repeated} rows are there twice")
    return "; ".join(faults) or None
