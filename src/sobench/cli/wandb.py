"""`sobench wandb sync|verify`: mirror to wandb what is not mirrored, or say what is missing and what is there twice."""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from sobench.cli.arguments import words_of
from sobench.errors import UsageError
from sobench.results.state import state


def wandb(args: argparse.Namespace) -> int:
    """Of an experiment's runs, or of all under runs/. 1 where something is missing, or could not be mirrored."""
    from sobench.config.grid import expand

    experiment, words = words_of(args)
    asked = [f"experiment={experiment}"] if experiment else []
    runs = expand([*asked, "logger=wandb", *words])
    config = runs[0].config
    if config["logger"]["mode"] == "disabled":
        raise UsageError("logger.mode: got 'disabled', allowed: online or offline")
    root = Path(config["runs"])
    if experiment:
        messages = [_message(run.directory(root), name=run.name, experiment=experiment) for run in runs]
    else:
        messages = [_message(directory) for directory in sorted(root.glob("*/seed-*"))]
    reports = _reports(Path(config["reports"]), experiment) if args.action == "sync" else ()
    return _hand_over(config, args.action, [*filter(None, messages), *reports])


def _message(directory: Path, **more: str) -> dict[str, Any] | None:
    """What there is to mirror of a run; None of one that is being made (its own process mirrors it), or has no rows."""
    try:
        rows = (directory / "metrics.jsonl").read_bytes().count(b"\n")
        run_id = json.loads((directory / "run.json").read_bytes())["id"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if not rows or state(directory).status == "running":
        return None
    return {"directory": str(directory), "id": run_id, "rows": rows, **more}


def _reports(root: Path, experiment: str | None) -> Iterator[dict[str, Any]]:
    """The folders of the reports that were written, of an experiment or of all."""
    for file in sorted(root.glob("*/*/*/provenance.json")):
        try:
            origin = json.loads(file.read_bytes())
            name = origin["report"]
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if experiment in (None, origin.get("experiment")):
            variant = hashlib.sha256(file.parent.name.encode()).hexdigest()[:8]
            yield {"report": str(file.parent), "name": name, "id": f"report-{name.replace('/', '-')}-{variant}"}


def _hand_over(config: dict[str, Any], verb: str, messages: Iterable[dict[str, Any]]) -> int:
    """Have wandb's process do it; whatever becomes of that, there is an answer."""
    from sobench.results.loggers.wandb.process import command

    process = subprocess.Popen(**command(config["logger"], config["runs"], verb), text=True)
    try:
        process.communicate("".join(json.dumps(message) + "\n" for message in messages))
    except BaseException:  # it has a session of its own and would go on
        process.kill()
        raise
    return int(process.returncode != 0)
