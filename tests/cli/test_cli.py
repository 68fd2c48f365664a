"""The command line: run from any folder, its help, stopped by a signal."""

import os
import re
import shlex
import signal
import subprocess
import sys
import time

import pytest
from harness import SMALL, command, directories, directory, finish, output, process, rows, summary

from sobench import cli
from sobench.errors import UsageError
from sobench.system import stopping

PROGRAM = [sys.executable, "-c", "from sobench.cli import entry; entry()"]


def test_runs_and_reports_are_made_where_the_command_is(workplace):
    (workplace / "a" / "b").mkdir(parents=True)
    os.chdir("a/b")
    assert command("run", *SMALL).code == 0
    assert [path.name for path in (workplace / "a" / "b").iterdir()] == ["runs"]
    assert command("run", *SMALL, f"runs={workplace}/elsewhere/deep").code == 0
    assert len(directories(workplace / "elsewhere" / "deep")) == 1


def test_a_home_of_its_own(workplace):
    """Hydra writes nothing of its own: no outputs/, no .hydra/, no log."""
    command("run", *SMALL)
    command("run", "-m", *SMALL, "seed=1")
    assert [path.name for path in workplace.iterdir()] == ["runs"]


def test_first_and_last_line_of_a_sweep(workplace):
    done = command("run", "-m", *SMALL, "optimizer=sgd,adam", "seed=0,1,2")
    lines = done.out.splitlines()
    assert done.code == 0 and len(lines) == 8
    assert lines[0] == "6 runs: 6 to run" and lines[-1] == "6 runs: 6 done"
    for number, line in enumerate(lines[1:-1], 1):
        name = ["sgd", "adam"][(number - 1) // 3]
        assert line.startswith(f"[{number}/6] digits mlp {name} seed {(number - 1) % 3}: done: 2 steps, ")


def test_a_single_run_ends_with_its_figures_and_its_path(workplace):
    *_, line, path = command("run", *SMALL).out.splitlines()
    record = summary(directory())
    assert line.startswith("digits mlp sgd seed 0: done: 2 steps, ")
    assert line.endswith(
        f"test_loss {record['final']['test_loss']:.4g}, test_accuracy {record['final']['test_accuracy']:.4g}"
    )
    assert path == str(directory())


def test_an_experiment_is_the_whole_sweep(workplace):
    done = command("run", "experiment=demo/digits", "budget=smoke", "seed=0,1", "threads=1", "optimizer=sgd,adam")
    assert done.code == 0 and done.out.splitlines()[-1] == "4 runs: 4 done"
    shown = command("status", "demo/digits", "budget=smoke", "seed=0,1,2", "optimizer=sgd,adam")
    assert shown.code == 0 and shown.out.splitlines()[-1] == "2 cells, 6 runs: 4 done, 2 missing"


@pytest.mark.parametrize(
    "words, part",
    [
        pytest.param(["run", "--help"], "== Configuration groups ==", marks=pytest.mark.slow),  # as -h
        (["run", "-h"], "optimizer: adagrad"),
        (["run", "--hydra-help"], "Hydra"),
        (["run", "--cfg", "job"], "batch_size: 64"),
        (["run", "--cfg", "job", "--resolve", "optimizer=adam"], "amsgrad: false"),
        (["run", "--info", "searchpath"], "sobench-plugins://entry_points"),
        (["--help"], "reproduce"),
        (["data", "--help"], "fetch"),
        (["list", "--help"], "optimizers"),
        (["status", "-h"], "experiment"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_help(workplace, words, part):
    shown = command(*words)
    assert shown.code == 0 and part in shown.out and not shown.err
    assert not list(workplace.iterdir())


def test_stopped_by_the_keyboard(workplace):
    words = ["run", "threads=1", "model.widths=[4]", "budget.epochs=1000000", "log.every=1", "checkpoint.seconds=0"]
    started = process(*words, folder=workplace, prepare=interruptible)
    while not list(workplace.glob("runs/*/*/checkpoint.pt")):
        assert started.is_alive(), output(workplace)
        time.sleep(0.01)
    os.kill(started.pid, signal.SIGINT)
    assert finish(started) == 130
    first, last = output(workplace).splitlines()
    assert first.startswith("SIGINT: going on to the next checkpoint")
    assert last == "sobench: stopped; repeat the command to resume"
    assert "interrupted 1" in command("status").out
    assert not (directory() / "holder.json").exists()
    assert rows(directory())[-1]["step"] >= 1


def interruptible() -> None:
    """A fork server ignores Ctrl-C, and its children inherit that."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def test_a_sweep_stopped_by_the_keyboard(workplace, monkeypatch):
    from sobench.execution import attempt

    true = attempt.execute

    def execute(run, *args):
        if run.seed == 1:
            raise KeyboardInterrupt
        return true(run, *args)

    monkeypatch.setattr(attempt, "execute", execute)
    stopped = command("run", "-m", *SMALL, "seed=0,1,2")
    assert stopped.code == 130 and stopped.errors == ["sobench: stopped; repeat the command to resume"]
    assert stopped.out.splitlines()[-1] == "3 runs: 2 missing, 1 done"
    assert stopping.SWEEP not in os.environ
    monkeypatch.undo()
    monkeypatch.chdir(workplace)
    assert command("run", "-m", *SMALL, "seed=0,1,2").out.splitlines()[0] == "3 runs: 1 done, 2 to run"


@pytest.mark.parametrize("words", [["list", "optimizers"], ["data", "list"]], ids=" ".join)
def test_a_pipe_that_is_closed(workplace, words):
    with subprocess.Popen([*PROGRAM, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as listing:
        listing.stdout.close()
        assert listing.wait(60) in (0, 1) and not listing.stderr.read()


def test_one_command_leaves_the_next_alone(workplace):
    """`reproduce` runs and then reports in one process."""
    assert cli.main(["run", "optimizer=nothing"]) == 2
    assert cli.main(["run", *SMALL]) == 0
    assert command("run", "-m", *SMALL, "batch_size=5000").code == 1
    assert command("run", *SMALL).code == 0


def test_reproduce_says_when_nothing_came_of_it(workplace, monkeypatch):
    monkeypatch.setattr("sobench.execution.attempt.execute", lambda *_: (_ for _ in ()).throw(UsageError("not today")))
    ended = command("reproduce", "demo/digits", "budget=smoke", "seed=0", "optimizer=sgd", "threads=1")
    assert ended.code == 1 and "no result from its 1 run, see `sobench status demo/digits`" in ended.errors[-1]
    assert not (workplace / "reports").exists()


def test_a_report_says_how_it_is_made_again(workplace):
    """With the overrides that select its runs, and without those that say where and how they are made."""
    words = ["budget=smoke", "seed=0", "optimizer=sgd,adam", "model.widths=[8]"]
    assert command("reproduce", "demo/digits", *words, "threads=1", "progress=false", "runs=elsewhere").code == 0
    (page,) = workplace.glob("reports/demo/digits/*/report.md")
    made = re.search(r"made with `sobench (.*?)`", page.read_text())[1]
    assert shlex.split(made) == ["reproduce", "demo/digits", *words]
    again = command(*shlex.split(made), "runs=elsewhere")
    assert again.out.splitlines()[0] == "2 runs: 2 done; nothing to do"


def test_version_is_that_of_the_package():
    import sobench

    assert command("--version").out == f"sobench {sobench.__version__}\n"
    assert sobench.__version__ and {"Objective", "load_optimizer"} < {*sobench.__all__}
    assert sobench.load_optimizer("sgd").__name__ == "SGD" and sobench.losses and sobench.Objective
