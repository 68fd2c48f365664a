"""A tree of finished runs as large as a sweep of thousands leaves it, for `sobench bench results`. Nothing is trained."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sobench.results.rundir import Metrics, RunDirectory
from sobench.run import Run

TRAIN = 20
"""Rows of steps beside the evaluations."""
ENVIRONMENT = {"sobench": "0.1.0", "commit": None, "python": "3.11.7", "torch": "2.15.0", "numpy": "2.4.6",
               "platform": "Linux x86_64", "host": "bench", "device": "cpu", "device_name": "none", "threads": 1,
               "started": "2026-01-01T00:00:00+0000"}


def make(runs: Sequence[Run], root: Path, evaluations: int) -> int:
    """Write every run that is not there; how many that were. The seeds of a cell follow each other."""
    first: RunDirectory | None = None
    made = 0
    for run in runs:
        directory = RunDirectory(run, root)
        if directory.finished():
            continue
        made += 1
        directory.path.mkdir(parents=True, exist_ok=True)
        if first is None or first.run.cell != run.cell:
            first = directory
            directory.describe(ENVIRONMENT)
        else:
            _describe_like(directory, first)
        _write(directory, evaluations)
    return made


def _describe_like(directory: RunDirectory, first: RunDirectory) -> None:
    """What `describe` writes, from what it wrote of another seed: most of its time is YAML and waiting for the disk."""
    for name, old, new in (("run.json", f'"id": "{first.run.id}"', f'"id": "{directory.run.id}"'),
                           ("config.yaml", f"\nseed: {first.run.seed}\n", f"\nseed: {directory.run.seed}\n"),
                           ("environment.json", "", "")):
        text = (first.path / name).read_text().replace(old, new)
        if name == "run.json":
            text = text.replace(f'"seed": {first.run.seed},', f'"seed": {directory.run.seed},', 1)
        (directory.path / name).write_text(text)


def _write(directory: RunDirectory, evaluations: int) -> None:
    """The record and the summary of a run that learns as others do."""
    last: dict[str, Any] = {}
    record = Metrics(directory.metrics)
    for last in _rows(random.Random(directory.run.id), evaluations):
        record.append(last)
    record.close()
    final = {name: last[name] for name in ("train_loss", "train_accuracy", "test_loss", "test_accuracy")}
    summary = {"status": "done", "reason": None, "steps": last["step"], "epochs": last["epoch"], "converged": False,
               **{name: last[name] for name in ("seconds", "process_seconds", "work")}, "warm_start_seconds": 0.0,
               "peak_host_bytes": 2**29, "peak_device_bytes": None, "state_bytes": 20568, "parameters": 2570,
               "parameters_sha256": "0" * 64, "final": final}
    summary |= {"metrics_bytes": directory.metrics.stat().st_size, "finished": ENVIRONMENT["started"]}
    (directory.path / "summary.json").write_text(json.dumps(summary, indent=1))  # as `finish` does, not waiting for the disk


def _rows(draw: random.Random, evaluations: int) -> Iterator[dict[str, Any]]:
    """Rows as the training loop records them, the last one an evaluation."""
    seconds, speed, period = 0.0, draw.uniform(1e-3, 1e-2), max(1, evaluations // TRAIN)
    for epoch in range(evaluations):
        step, seconds, noise = 57 * epoch, seconds + speed * draw.uniform(0.9, 1.1), draw.uniform(0.98, 1.02)
        place = {"step": step, "epoch": step / 57, "seconds": seconds, "process_seconds": seconds * noise, "work": epoch * 1.0021,
                 "forwards": step, "backwards": step, "products": 0, "samples": 7291 * epoch, "passes": 21873 * epoch}
        loss = noise * 2.3 / (1 + speed * 100 * epoch)
        if epoch % period == 1 or period == 1 and epoch:
            yield {"kind": "train", **place, "loss": loss * draw.uniform(0.9, 1.1)}
        yield {"kind": "eval", **place, "train_loss": loss, "train_accuracy": 1 / (1 + loss / 9), "test_loss": loss * 1.07,
               "test_accuracy": 1 / (1 + loss * noise / 8)}
