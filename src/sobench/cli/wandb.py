"""`sobench wandb sync|verify`: copy to wandb what is not there, or list what is missing there or there twice."""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from sobench.cli.arguments import key_of, of_command
from sobench.errors import UsageError
from sobench.results.state import DAMAGED, state
from sobench.system.files import parse_json


def wandb(args: argparse.Namespace) -> int:
    """Copy or verify the runs of an experiment or of settings, or all under runs/.

    Returns 1 if something is missing or could not be copied. Raises UsageError.
    """
    from sobench.config.grid import expand

    selected = of_command(args)
    experiment = selected.experiment
    runs = expand([*(setting for setting in selected.settings if key_of(setting) != "logger"), "logger=wandb"])
    config = runs[0].config
    if config["logger"]["mode"] == "disabled":
        raise UsageError("logger.mode: got 'disabled', allowed: online or offline")
    root = Path(config["runs"])
    if not selected.is_everything:
        of_all = {"experiment": experiment} if experiment else {}
        messages = [_run_message(run.directory(root), name=run.name, **of_all) for run in runs]
    else:
        messages = [_run_message(directory) for directory in sorted(root.glob("*/seed-*"))]
    reports = _report_messages(Path(config["reports"]), experiment) if args.action == "sync" else ()
    return _send(config, args.action, [*filter(None, messages), *reports])


def _run_message(directory: Path, **names: str) -> dict[str, Any] | None:
    """The message that describes a run; None if it has no rows, or is running: its own process copies it then.

    A damaged run is named and not copied.
    """
    try:
        rows = (directory / "metrics.jsonl").read_bytes().count(b"\n")
        run_id = parse_json((directory / "run.json").read_bytes())["id"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    current = state(directory)
    if not rows or current.status == "running":
        return None
    damage = current.reason if current.status == DAMAGED else None
    return {"directory": str(directory), "id": run_id, "rows": rows, "damage": damage, **names}


def _report_messages(root: Path, experiment: str | None) -> Iterator[dict[str, Any]]:
    """A message for each folder of a written report, of one experiment or of all."""
    for file in sorted(root.rglob("provenance.json")):
        try:
            provenance = parse_json(file.read_bytes())
            name = provenance["report"]
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if experiment in (None, provenance.get("experiment")):
            variant = hashlib.sha256(file.parent.name.encode()).hexdigest()[:8]
            yield {"report": str(file.parent), "name": name, "id": f"report-{name.replace('/', '-')}-{variant}"}


def _send(config: dict[str, Any], action: str, messages: Iterable[dict[str, Any]]) -> int:
    """Send the messages to the process that talks to wandb. Returns 1 if it failed, else 0."""
    from sobench.results.loggers.wandb.process import command

    process = subprocess.Popen(**command(config["logger"], config["runs"], action), text=True)
    try:
        process.communicate("".join(json.dumps(message) + "\n" for message in messages))
    except BaseException:  # Ctrl-C does not reach that process: it is in a session of its own
        process.kill()
        raise
    return int(process.returncode != 0)
