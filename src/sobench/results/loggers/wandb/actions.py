"""The actions of the mirror process: functions of a Worker that return the exit code."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from sobench.results.loggers.base import reason_of
from sobench.results.loggers.wandb import receipts
from sobench.results.loggers.wandb.mirror import mirror, mirror_report
from sobench.results.loggers.wandb.process import REPORTED
from sobench.results.loggers.wandb.remote_state import Known, offline, online
from sobench.results.loggers.wandb.worker import Worker

Message = dict[str, Any]


def follow(worker: Worker) -> int:
    """Mirror each run while it is made, until its summary is written or the next message comes.

    The first failure is reported. It ends the process, unless an earlier run was mirrored: then the cause is the run,
    and not wandb.
    """
    mirrored = failed = 0
    for message in worker.messages():
        if "over" in message:  # the run was over before
            continue
        try:
            mirror(worker, message, _end_of(worker, message))
            mirrored += 1
        except (Exception, SystemExit) as error:
            if not mirrored:
                worker.give_up(reason_of(error))
            receipts.settle(Path(worker.settings["folder"]), message["id"], 0)
            if not failed:
                worker.warn(reason_of(error))
            failed += 1
    return REPORTED if failed else 0


def _end_of(worker: Worker, message: Message) -> Callable[[], bool]:
    """The test whether a run is over: its summary is written, or another message waits, maybe that it was stopped."""
    summary = Path(message["directory"]) / "summary.json"
    return lambda: summary.exists() or worker.more()


def sync(worker: Worker) -> int:
    """Mirror every run and report that wandb lacks in whole or in part. Exit code 1 if one of them failed."""
    known, done, failed = _known(worker), 0, 0
    for message in worker.messages():
        place = message.get("directory") or message["report"]
        if message.get("damage"):
            worker.say(f"failed {place}: damaged: {message['damage']}")
            failed += 1
            continue
        try:
            written = _mirror(worker, message, known)
            if written:
                worker.say(f"mirrored {place}: {written}")
                done += 1
        except (Exception, SystemExit) as error:
            if not done:
                worker.give_up(reason_of(error))
            worker.say(f"failed {place}: {reason_of(error)}")
            failed += 1
    worker.say(f"{done} mirrored" + (f", {failed} failed" if failed else ""))
    return int(failed > 0)


def _mirror(worker: Worker, message: Message, known: dict[str, Known]) -> str | None:
    """The amount that was written of a run or a report; None if wandb has all of it."""
    if "report" in message:
        return "its files" if mirror_report(worker, message, known.get(message["id"], Known())) else None
    return f"{mirror(worker, message, lambda: True)} rows" if _missing(message, known) else None


def verify(worker: Worker) -> int:
    """Print what is missing and what is there twice. Exit code 1 if there is any."""
    known, total, wrong = _known(worker), 0, 0
    for message in worker.messages():
        total += 1
        damage = f"damaged: {message['damage']}" if message.get("damage") else None
        for fault in (damage,) if damage else (_missing(message, known), _repeated(message, known)):
            if fault:
                worker.say(f"{message['directory']}: {fault}")
                wrong += 1
    worker.say(f"{total} runs: " + (f"{wrong} fault{'s' * (wrong > 1)}" if wrong else "all mirrored once"))
    return int(wrong > 0)


ACTIONS: dict[str, Callable[[Worker], int]] = {"follow": follow, "sync": sync, "verify": verify}


def _known(worker: Worker) -> dict[str, Known]:
    settings = worker.settings
    return offline(settings["folder"]) if settings["mode"] == "offline" else online(settings, worker)


def _missing(message: Message, known: dict[str, Known]) -> str | None:
    """The part of a run that wandb lacks, in words; None if it has all of it."""
    there = known.get(message["id"])
    if there is None:
        return "missing"
    if there.rows < message["rows"]:
        return f"{there.rows} of {message['rows']} rows"
    return None if there.finished else "not finished"


def _repeated(message: Message, known: dict[str, Known]) -> str | None:
    """The part of a run that wandb has more than once, in words."""
    there = known.get(message["id"], Known())
    faults = [f"{there.copies} runs of wandb are this one"] if there.copies > 1 else []
    repeated = there.repeated or max(0, there.rows - message["rows"])
    if repeated:
        faults.append(f"{repeated} rows are there twice")
    return "; ".join(faults) or None
