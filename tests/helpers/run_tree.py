"""Run directories in the format of the harness, made by hand."""

import json
from hashlib import sha256
from pathlib import Path

from sobench.config.run import Run
from sobench.report.writer import FILES

OF_A_PAPER = [name for name in FILES if name not in ("settings.csv", "description.yaml")]
"""The files of a report with a description among those of sobench, and without a choice of settings."""


def a_run(
    optimizer: str,
    seed: int = 0,
    *,
    dataset: str = "mnist",
    lr: float = 0.1,
    damping: float = 1.0,
    widths: tuple[int, ...] = (10,),
    cell: str | None = None,
    **settings,
) -> Run:
    """A run whose experiment declares the budget of the paper as one epoch."""
    config = {
        "dataset": {"name": dataset},
        "model": {"name": "mlp", "widths": list(widths)},
        "optimizer": {"name": optimizer, "lr": lr, "damping": damping},
        "budget": {"name": "cpu", "epochs": 7, "steps": None, "seconds": None},
        "budgets": {"paper": {"epochs": 1}},
        "batch_size": 64,
        "seed": seed,
    }
    config |= settings
    return Run(config, cell or sha256(f"{dataset} {optimizer} {lr} {damping} {widths}".encode()).hexdigest()[:12], seed)


def row(kind: str, step: int, **values) -> dict:
    """A row of metrics.jsonl, 10 steps an epoch, 0.1 s a step; values override or add."""
    x = {
        "kind": kind,
        "step": step,
        "epoch": step / 10,
        "seconds": step * 0.1,
        "process_seconds": step * 0.2,
        "work": step / 10,
    }
    return x | values


def evals(metric: str, *values: float, every: int = 10, **more) -> list[dict]:
    """Eval rows at steps 0, every, 2 every, ..."""
    return [row("eval", index * every, **{metric: value}, **more) for index, value in enumerate(values)]


def put(
    root: Path, run: Run, rows: list[dict], status: str | None = "done", reason: str | None = None, **summary
) -> Path:
    """Write the run's directory. status None: no summary, as of a run that is not over."""
    directory = run.directory(root)
    directory.mkdir(parents=True, exist_ok=True)
    identity = {"id": run.id, "cell": run.cell, "seed": run.seed, "config": run.config}
    (directory / "run.json").write_text(json.dumps(identity))
    (directory / "environment.json").write_text(json.dumps({"torch": "2.0", "device": "cpu", "commit": "abc"}))
    (directory / "metrics.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    if status:
        last = rows[-1] if rows else {"step": 0, "epoch": 0.0, "seconds": 0.0}
        found = {
            "status": status,
            "reason": reason,
            "steps": last["step"],
            "epochs": last["epoch"],
            "seconds": last["seconds"],
        } | summary
        (directory / "summary.json").write_text(json.dumps(found))
    return directory
