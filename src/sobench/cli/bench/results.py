"""`sobench bench results`: the time and the memory to read the results of many runs.

Writes a tree of 10,000 finished runs with 200 evaluations each, in the folder SOBENCH_BENCH_DIR, which is kept, or in
a temporary one. Nothing is trained. Then measures, each in a separate process: a report (a table of all runs, and a
figure) and `sobench compare`, without the cache of the results and with it; a comparison that is there already is not
made again, so also one whose files were deleted; `sobench status`, and a sweep whose runs are all done.

A line has the time of the whole process, the time of the processors including helper processes, and the peak memory
of a process. A line of a report also has the time of its parts: `imports`; `names`, composing the names of the runs;
and `aggregate`, from the run directories to the table and the figure. The bracket is the time of the processors.
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
"""The sweep is every combination of these."""

SEEDS, EVALUATIONS = 10, 200
TRAIN_ROWS = 20
"""Training rows of each run, beside its evaluations."""

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
"""The environment.json of every run."""

REPORT = "bench/results"
_CLI = "from sobench.cli import entry; entry()"
_WRITE = "from sobench.cli.bench.results import report; report()"


def results() -> int:
    """Write the tree, measure, and print a line for each measurement."""
    given = os.environ.get("SOBENCH_BENCH_DIR")
    folder = Path(given or tempfile.mkdtemp(prefix="sobench-bench-")).absolute()
    try:
        _measure(folder, sweep_overrides(GROUPS, SEEDS, folder / "runs"))
    finally:
        if not given:
            shutil.rmtree(folder)
    return 0


def sweep_overrides(groups: Mapping[str, Sequence[str]], seeds: int, root: Path) -> list[str]:
    """The overrides of the sweep over all combinations of the groups' members and the seeds."""
    members = [f"{group}={','.join(names)}" for group, names in groups.items()]
    return [*members, f"seed=range({seeds})", "budget.epochs=200", f"runs={root}"]


def _measure(folder: Path, overrides: list[str]) -> None:
    root = folder / "runs"
    start = time.perf_counter()
    runs = expand(overrides)
    _print_line(f"{len(runs):,} runs composed, by Hydra or from its cache", time.perf_counter() - start)
    start = time.perf_counter()
    written = write_runs(sorted(runs, key=lambda run: run.slug), root, EVALUATIONS)
    _print_line(f"{written:,} of them written, {EVALUATIONS} evaluations each", time.perf_counter() - start)
    description = folder / "conf" / f"{REPORT}.yaml"
    description.parent.mkdir(parents=True, exist_ok=True)
    description.write_text(json.dumps(_description(GROUPS)))  # JSON is YAML
    shutil.rmtree(root / ".cache", ignore_errors=True)
    for state in ("cold", "warm"):
        _process(f"report, {state}", _WRITE, str(folder), *overrides)
    reports = folder / "reports"
    for state, without in (("cold", root / ".cache"), ("warm", None), ("warm, its files deleted", reports)):
        if without:
            shutil.rmtree(without, ignore_errors=True)
        _process(f"compare, {state}", _CLI, "compare", f"runs={root}", f"reports={reports}")
    _process("status", _CLI, "status", f"runs={root}")
    _process("a sweep whose runs are all done", _CLI, "run", "-m", *overrides)


def _description(groups: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """The description of the report: a table of every data set and model, and a figure of one of each."""
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
    """Run Python code in a process; print its time, its memory and its last line.

    Raises CalledProcessError if it fails.
    """
    start = time.perf_counter()
    child = subprocess.Popen([sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, text=True)
    assert child.stdout
    with child.stdout as output:
        lines = output.read().splitlines()
    _, status, usage = os.wait4(child.pid, 0)
    seconds, child.returncode = time.perf_counter() - start, os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise subprocess.CalledProcessError(child.returncode, code)
    cpu, memory = usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 2**20
    _print_line(title, seconds, f"{cpu:.1f} s of processors, {memory:.2f} GB; {lines[-1]}")


def _print_line(title: str, seconds: float, more: str = "") -> None:
    print(f"{title:48s} {seconds:6.1f} s  {more}".rstrip(), flush=True)


# In a separate process: the report


@interpreter.paused_gc()  # as the command `sobench report`
def report() -> None:
    """Write a table of all runs and a figure, and print the time of each part.

    sys.argv: a folder, and the overrides of the sweep.
    """
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
    """Seconds by the clock, and seconds of the processors for this process and its helpers that have ended."""
    usages = [resource.getrusage(which) for which in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return time.perf_counter(), sum(usage.ru_utime + usage.ru_stime for usage in usages)


# The tree of finished runs


def write_runs(runs: Sequence[Run], root: Path, evaluations: int) -> int:
    """Write every run that does not exist yet, and return their number. The seeds of a cell must follow each other."""
    first: RunDirectory | None = None
    written = 0
    for run in runs:
        directory = RunDirectory(run, root)
        if directory.finished():
            continue
        written += 1
        directory.path.mkdir(parents=True, exist_ok=True)
        if first is None or first.run.cell != run.cell:
            first = directory
            directory.describe(ENVIRONMENT)
        else:
            _describe_like(directory, first)
        _write_result(directory, evaluations)
    return written


def _describe_like(directory: RunDirectory, first: RunDirectory) -> None:
    """Write what `describe` writes, copied from another seed.

    `describe` spends its time on YAML and on waiting for the disk.
    """
    for name, old, new in (
        ("run.json", f'"id": "{first.run.id}"', f'"id": "{directory.run.id}"'),
        ("config.yaml", f"\nseed: {first.run.seed}\n", f"\nseed: {directory.run.seed}\n"),
        ("environment.json", "", ""),
    ):
        text = (first.path / name).read_text().replace(old, new)
        if name == "run.json":
            text = text.replace(f'"seed": {first.run.seed},', f'"seed": {directory.run.seed},', 1)
        (directory.path / name).write_text(text)


def _write_result(directory: RunDirectory, evaluations: int) -> None:
    """Write the record and the summary of a run whose loss falls."""
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
    sealed = directory.sealed({**summary, "finished": ENVIRONMENT["started"]}, record.chain)
    (directory.path / "summary.json").write_bytes(sealed)  # `finish` would wait for the disk


def _rows(draw: random.Random, evaluations: int) -> Iterator[dict[str, Any]]:
    """Rows as the training loop records them; the last one is an evaluation."""
    seconds, speed, period = 0.0, draw.uniform(1e-3, 1e-2), max(1, evaluations // TRAIN_ROWS)
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
