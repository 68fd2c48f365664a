import io
import subprocess
import sys

from rich.console import Console
from run_tree import a_run, evals, put

from sobench.results.status import cells, print_status


def printed(runs, root) -> str:
    console = Console(file=io.StringIO(), width=160)
    print_status(runs, root, console)
    return console.file.getvalue()


def tree(root):
    runs = [a_run(name, seed) for name in ("sgd", "newton") for seed in range(3)]
    put(root, runs[0], evals("train_loss", 2.0, 1.0))
    put(root, runs[1], evals("train_loss", 2.0), None)
    for run in runs[3:5]:
        put(root, run, evals("train_loss", 2.0), "diverged", "loss is [NaN] at step 4")
    put(root, runs[5], [], "failed", "out of memory")
    return runs


def test_every_cell_with_its_counts_and_reasons(tmp_path):
    runs = tree(tmp_path)
    sgd, newton = cells([run.directory(tmp_path) for run in runs])
    assert sgd.counts == {"done": 1, "interrupted": 1, "missing": 1}
    assert newton.counts == {"diverged": 2, "failed": 1}
    assert newton.reasons == ["diverged: loss is [NaN] at step 4 (seed 0, 1)", "failed: out of memory (seed 2)"]
    text = printed(runs, tmp_path)
    assert "loss is [NaN] at step 4" in text and "interrupted 1" in text and "1/3" in text
    assert text.rstrip().splitlines()[-1] == "2 cells, 6 runs: 1 done, 2 diverged, 1 failed, 1 interrupted, 1 missing"


def test_without_an_experiment_whatever_is_found(tmp_path):
    tree(tmp_path)
    last = printed(None, tmp_path).rstrip().splitlines()[-1]
    assert last == "2 cells, 5 runs: 1 done, 2 diverged, 1 failed, 1 interrupted"
    assert "no runs under" in printed(None, tmp_path / "empty")


def test_status_and_the_list_of_reports_load_nothing_heavy():
    code = ("import sys, sobench.results.status, sobench.results.state, sobench.report as r; r.read(r.reports()[0])\n"
            "print([m for m in ('torch', 'pandas', 'numpy', 'matplotlib', 'scipy') if m in sys.modules])")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
