"""How a record of many runs is read: `sobench bench results`.

A tree of 10,000 finished runs of 200 evaluations (20 optimizers x 10 data sets x 5 models x 10 seeds), in a temporary folder or
in SOBENCH_BENCH_DIR, which is kept. Then, each in a process of its own: a report (a table of all runs, a figure) without the
cache of the record and with it, `sobench status`, and a sweep whose runs are all done. Seconds are those of the whole process,
its imports included; memory is the highest of the process, and of as many helpers as it had.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from sobench.bench_tree import make
from sobench.grid import expand

OPTIMIZERS = ("adagrad", "adahessian", "adam", "block_fisher", "damped_newton", "esgd", "hessian_free", "hf_gauss_newton", "hf_newton",
              "kbfgs", "kbfgs20", "kernel_sgd", "kfac", "lbfgs", "newton", "newton_krylov", "rmsprop", "sgd", "shampoo", "tnt")
DATASETS = ("cifar10", "cifar100", "covid_tweets", "curves_synthetic", "digits", "faces_synthetic", "imdb", "mnist", "noise", "svhn")
MODELS = ("lenet", "linear", "mlp", "resnet", "vgg")
SEEDS, EVALUATIONS = 10, 200

REPORT = "bench/results"
_CLI = "from sobench.cli import entry; entry()"
_WRITE = "from sobench.bench_results import report; report()"


def results() -> int:
    """Make the tree, measure, print."""
    kept = os.environ.get("SOBENCH_BENCH_DIR")
    folder = Path(kept or tempfile.mkdtemp(prefix="sobench-bench-"))
    try:
        _measure(folder.absolute())
    finally:
        if not kept:
            shutil.rmtree(folder)
    return 0


def words(root: Path) -> list[str]:
    """The settings of the sweep."""
    return [f"optimizer={','.join(OPTIMIZERS)}", f"dataset={','.join(DATASETS)}", f"model={','.join(MODELS)}",
            f"seed=range({SEEDS})", "budget.epochs=200", f"runs={root}"]


def _measure(folder: Path) -> None:
    root = folder / "runs"
    start = time.perf_counter()
    runs = expand(words(root))
    _line(f"{len(runs):,} runs of {EVALUATIONS} evaluations: named", time.perf_counter() - start)
    start = time.perf_counter()
    made = make(sorted(runs, key=lambda run: run.slug), root, EVALUATIONS)
    _line(f"{made:,} of them written", time.perf_counter() - start)
    shutil.rmtree(root / ".cache", ignore_errors=True)
    for state in ("cold", "warm"):
        _process(f"report, {state}", _WRITE, str(folder))
    _process("status", _CLI, "status", f"runs={root}")
    _process("sweep of runs that are all done", _CLI, "run", "-m", *words(root))


def report() -> None:
    """In a process of its own: a table of all runs and a figure, from the tree in the folder that is named; says what it took."""
    import resource

    from sobench.report.writer import write

    folder = Path(sys.argv[1])
    start = time.perf_counter()
    runs = expand(words(folder / "runs"))
    middle = time.perf_counter()
    place = folder / "conf" / f"{REPORT}.yaml"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(json.dumps(_description()))  # JSON is YAML
    write(REPORT, runs, folder / "runs", folder / "report", folder=folder / "conf")
    print(f"{middle - start:.1f} s to name the runs, {time.perf_counter() - middle:.1f} s to read and show them")


def _description() -> dict:
    """A table of every data set and model; a figure of one of each."""
    where = {"dataset": "mnist", "model": "mlp"}
    columns = [{"metric": "test_accuracy", "label": f"{dataset} {model}", "better": "higher", "where": {"dataset": dataset, "model": model}}
               for dataset in DATASETS for model in MODELS]
    panels = [{"x": x, "y": "train_loss", "scale": "log", "label": "Training loss", "where": where} for x in ("epoch", "seconds")]
    return {"title": "Many runs", "source": "a benchmark of sobench, no paper", "experiment": "demo/digits", "methods": {name: name for name in OPTIMIZERS},
            "table": {"columns": columns}, "figure": {"columns": 2, "panels": panels}}


def _process(title: str, code: str, *arguments: str) -> None:
    """Run it; its seconds, its memory, and the last line it printed."""
    start = time.perf_counter()
    child = subprocess.Popen([sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, text=True)
    lines = child.stdout.read().splitlines()
    _, status, usage = os.wait4(child.pid, 0)
    seconds, child.returncode = time.perf_counter() - start, os.waitstatus_to_exitcode(status)
    _line(title, seconds, f"{usage.ru_maxrss / 2**20:.2f} GB; {lines[-1] if lines else ''}")


def _line(title: str, seconds: float, more: str = "") -> None:
    print(f"{title:50s} {seconds:6.1f} s  {more}".rstrip(), flush=True)
