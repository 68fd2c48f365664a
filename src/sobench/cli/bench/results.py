"""How a record of many runs is read: `sobench bench results`.

A tree of 10,000 finished runs of 200 evaluations, in a temporary folder or in SOBENCH_BENCH_DIR, which is kept. Then, each in a
process of its own: a report (a table of all runs, a figure) without the cache of the record and with it, `sobench status`, and a
sweep whose runs are all done. A line has the seconds of the whole process by the clock and of the processors, its helpers
included, and the highest memory of a process; the report's lines say what its parts took: importing what it needs, naming the
runs, and aggregating: from the run directories to the table and the figure written.

A tree of finished runs as large as a sweep of thousands leaves it, for `sobench bench results`. Nothing is trained.
"""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sobench.config.grid import expand
from sobench.config.run import Run
from sobench.results.rundir import Metrics, RunDirectory
from sobench.system import interpreter

GROUPS = {
    "optimizer": (
        "adagrad",
        "adahessian",
        "adam",
        "block_fisher",
        "damped_newton",
        "esgd",
        "hessian_free",
        "hf_gauss_newton",
        "hf_newton",
        "kbfgs",
        "kbfgs20",
        "kernel_sgd",
        "kfac",
        "lbfgs",
        "newton",
        "newton_krylov",
        "rmsprop",
        "sgd",
        "shampoo",
        "tnt",
    ),
    "dataset": (
        "cifar10",
        "cifar100",
        "covid_tweets",
        "curves_synthetic",
        "digits",
        "faces_synthetic",
        "imdb",
        "mnist",
        "noise",
        "svhn",
    ),
    "model": ("lenet", "linear", "mlp", "resnet", "vgg"),
}
"""Every one of each with every one of the others."""
SEEDS, EVALUATIONS = 10, 200

REPORT = "bench/results"
_CLI = "from sobench.cli import entry; entry()"
_WRITE = "from sobench.cli.bench.results import report; report()"


def results() -> int:
    """Make the tree, measure, print."""
    kept = os.environ.get("SOBENCH_BENCH_DIR")
    folder = Path(kept or tempfile.mkdtemp(prefix="sobench-bench-")).absolute()
    try:
        _measure(folder, words(GROUPS, SEEDS, folder / "runs"))
    finally:
        if not kept:
            shutil.rmtree(folder)
    return 0


def words(groups: Mapping[str, Sequence[str]], seeds: int, root: Path) -> list[str]:
    """The settings of the sweep."""
    chosen = [f"{group}={','.join(names)}" for group, names in groups.items()]
    return [*chosen, f"seed=range({seeds})", "budget.epochs=200", f"runs={root}"]


def _measure(folder: Path, sweep: list[str]) -> None:
    root = folder / "runs"
    start = time.perf_counter()
    runs = expand(sweep)
    _line(f"{len(runs):,} runs named, composed by Hydra or kept", time.perf_counter() - start)
    start = time.perf_counter()
    made = make(sorted(runs, key=lambda run: run.slug), root, EVALUATIONS)
    _line(f"{made:,} of them written, {EVALUATIONS} evaluations each", time.perf_counter() - start)
    description = folder / "conf" / f"{REPORT}.yaml"
    description.parent.mkdir(parents=True, exist_ok=True)
    description.write_text(json.dumps(_description(GROUPS)))  # JSON is YAML
    shutil.rmtree(root / ".cache", ignore_errors=True)
    for state in ("cold", "warm"):
        _process(f"report, {state}", _WRITE, str(folder), *sweep)
    _process("status", _CLI, "status", f"runs={root}")
    _process("a sweep whose runs are all done", _CLI, "run", "-m", *sweep)


@interpreter.paused_gc()  # as the command
def report() -> None:
    """In a process of its own, with a folder and the sweep as its words: a table of all runs and a figure, and what they took."""
    times = [_times()]
    import matplotlib.backends.backend_agg
    import matplotlib.backends.backend_pdf
    import matplotlib.figure  # noqa: F401

    from sobench.report.writer import write

    folder = Path(sys.argv[1])
    times.append(_times())
    runs = expand(sys.argv[2:])
    times.append(_times())
    write(REPORT, runs, folder / "runs", folder / "report", folder=folder / "conf")
    times.append(_times())
    parts = [
        f"{name} {clock:.2f} s ({cpu:.2f})"
        for name, (clock, cpu) in zip(("imports", "names", "aggregate"), np.diff(times, axis=0), strict=True)
    ]
    helper = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    print(f"{', '.join(parts)}; a helper had {helper:.2f} GB")
    interpreter.fast_exit(0)


def _times() -> tuple[float, float]:
    """Seconds by the clock, and those of the processors for this process and its helpers that have ended."""
    spent = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return time.perf_counter(), sum(usage.ru_utime + usage.ru_stime for usage in spent)


def _description(groups: Mapping[str, Sequence[str]]) -> dict:
    """A table of every data set and model; a figure of one of each."""
    wheres = [{"dataset": dataset, "model": model} for dataset in groups["dataset"] for model in groups["model"]]
    column = {"metric": "test_accuracy", "better": "higher"}
    panel = {"y": "train_loss", "scale": "log", "label": "Training loss", "where": wheres[-1]}
    columns = [{**column, "label": " ".join(where.values()), "where": where} for where in wheres]
    panels = [{**panel, "x": x} for x in ("epoch", "seconds")]
    return {
        "title": "Many runs",
        "source": "a benchmark of sobench, no paper",
        "experiment": "demo/digits",
        "methods": {name: name for name in groups["optimizer"]},
        "table": {"columns": columns},
        "figure": {"columns": 2, "panels": panels},
    }


def _process(title: str, code: str, *arguments: str) -> None:
    """Run it; its seconds, its memory, and the last line it printed. Raises CalledProcessError if it fails."""
    start = time.perf_counter()
    child = subprocess.Popen([sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, text=True)
    with child.stdout as output:
        lines = output.read().splitlines()
    _, status, usage = os.wait4(child.pid, 0)
    seconds, child.returncode = time.perf_counter() - start, os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise subprocess.CalledProcessError(child.returncode, code)
    _line(
        title,
        seconds,
        f"{usage.ru_utime + usage.ru_stime:.1f} s of processors, {usage.ru_maxrss / 2**20:.2f} GB; {lines[-1]}",
    )


def _line(title: str, seconds: float, more: str = "") -> None:
    print(f"{title:48s} {seconds:6.1f} s  {more}".rstrip(), flush=True)


TRAIN = 20
"""Rows of steps beside the evaluations."""
ENVIRONMENT = {
    "sobench": "0.1.0",
    "commit": None,
    "python": "3.11.7",
    "torch": "2.15.0",
    "numpy": "2.4.6",
    "platform": "Linux x86_64",
    "host": "bench",
    "device": "cpu",
    "device_name": "none",
    "threads": 1,
    "started": "2026-01-01T00:00:00+0000",
}


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
    for name, old, new in (
        ("run.json", f'"id": "{first.run.id}"', f'"id": "{directory.run.id}"'),
        ("config.yaml", f"\nseed: {first.run.seed}\n", f"\nseed: {directory.run.seed}\n"),
        ("environment.json", "", ""),
    ):
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
    summary = {
        "status": "done",
        "reason": None,
        "steps": last["step"],
        "epochs": last["epoch"],
        "converged": False,
        **{name: last[name] for name in ("seconds", "process_seconds", "work")},
        "warm_start_seconds": 0.0,
        "peak_host_bytes": 2**29,
        "peak_device_bytes": None,
        "state_bytes": 20568,
        "parameters": 2570,
        "parameters_sha256": "0" * 64,
        "final": final,
    }
    summary |= {"metrics_bytes": directory.metrics.stat().st_size, "finished": ENVIRONMENT["started"]}
    (directory.path / "summary.json").write_text(
        json.dumps(summary, indent=1)
    )  # as `finish` does, not waiting for the disk


def _rows(draw: random.Random, evaluations: int) -> Iterator[dict[str, Any]]:
    """Rows as the training loop records them, the last one an evaluation."""
    seconds, speed, period = 0.0, draw.uniform(1e-3, 1e-2), max(1, evaluations // TRAIN)
    for epoch in range(evaluations):
        step, seconds, noise = 57 * epoch, seconds + speed * draw.uniform(0.9, 1.1), draw.uniform(0.98, 1.02)
        place = {
            "step": step,
            "epoch": step / 57,
            "seconds": seconds,
            "process_seconds": seconds * noise,
            "work": epoch * 1.0021,
            "forwards": step,
            "backwards": step,
            "products": 0,
            "samples": 7291 * epoch,
            "passes": 21873 * epoch,
        }
        loss = noise * 2.3 / (1 + speed * 100 * epoch)
        if epoch % period == 1 or period == 1 and epoch:
            yield {"kind": "train", **place, "loss": loss * draw.uniform(0.9, 1.1)}
        yield {
            "kind": "eval",
            **place,
            "train_loss": loss,
            "train_accuracy": 1 / (1 + loss / 9),
            "test_loss": loss * 1.07,
            "test_accuracy": 1 / (1 + loss * noise / 8),
        }
