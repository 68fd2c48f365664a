"""The live table of a sweep: counts, the running runs, and a line for each run that ends."""

import io
import json
import re

import pytest
from harness import SMALL, command, run_with
from rich.console import Console

from sobench.execution import display
from sobench.execution.display import SweepTable
from sobench.results.rundir import RunDirectory


@pytest.fixture
def sweep(tmp_path):
    """Three runs, their directories, a table of them, and the console that it prints to."""
    runs = [run_with(seed=seed, runs=str(tmp_path)) for seed in range(3)]
    screen = Console(file=io.StringIO(), width=200, highlight=False)
    return runs, [RunDirectory(run, tmp_path) for run in runs], SweepTable(runs, screen), screen


def text(table: SweepTable) -> str:
    console = Console(file=io.StringIO(), width=200)
    console.print(table.render())
    return console.file.getvalue()


def test_counts_and_losses_are_those_of_the_directories(sweep):
    runs, directories, table, screen = sweep
    table.look()
    assert table.headline == "3 waiting"
    with directories[1].held():
        directories[1].metrics.write_text(
            json.dumps({"kind": "train", "step": 40, "seconds": 7.2, "loss": 0.125}) + "\n"
        )
        table.look()
        assert table.headline == "1 running, 2 waiting"
        assert re.search(r"\[2/3\] digits mlp sgd seed 1 +step 40 +loss 0\.125 +7 s", text(table))
        directories[1].finish({"status": "failed", "reason": "it [broke]", "steps": 40, "seconds": 7.2, "final": {}})
    table.look()
    assert re.fullmatch(r"1 failed, 2 waiting; about \d+ s left", table.headline)
    table.look()
    assert screen.file.getvalue() == "[2/3] digits mlp sgd seed 1: failed (it [broke]): 40 steps, 7.2 s\n"


def test_a_result_of_before_is_not_one_of_the_sweep(sweep, tmp_path):
    runs, directories, table, screen = sweep
    directories[0].path.mkdir(parents=True)
    directories[0].finish({"status": "failed", "reason": "before", "steps": 0, "final": {}})
    again = SweepTable(runs, screen)
    again.look()
    assert again.headline == "3 waiting"


def test_on_a_terminal_a_sweep_has_one_display(workplace, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(display, "REFRESH", 0.01)
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", command("run", "-m", *SMALL, "seed=0,1").out)
    assert plain.count("seed 0: done: ") == plain.count("seed 1: done: ") == 1
    assert plain.splitlines()[-1] == "2 runs: 2 done"
    assert display.SHOWN not in __import__("os").environ
