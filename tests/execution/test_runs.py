"""Outcomes of a run: made once, shared by sweeps, diverged, failed, held by another process."""

import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from harness import (
    SMALL,
    as_written,
    command,
    directories,
    directory,
    finish,
    output,
    process,
    result,
    rows,
    run_with,
    summary,
)

from sobench.config.grid import expand
from sobench.config.plugins import plugins as plugins_of
from sobench.results import method_code
from sobench.results.rundir import Held, RunDirectory

PLUGIN = """
import torch

class Sgd(torch.optim.SGD):
    requires = frozenset({"closure"})  # no rehearsal

    def __init__(self, params, lr=0.1, mode="none"):
        super().__init__(params, lr=lr)
        self.mode = mode
        if mode == "constructor":
            raise RuntimeError("cannot be made")

    def step(self, f):
        if self.mode == "raise":
            raise ArithmeticError("matrix is singular\\nand more")
        if self.mode == "memory":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
        if self.mode == "none returned":
            super().step(f)
            return None
        if self.mode == "diagnostics":
            self.diagnostics = {"step": -1, "loss": -1.0, "kind": "mine", "seconds": -1, "mine": torch.tensor(2.5)}
        return super().step(f)
"""


def test_a_result_of_older_code_says_so_and_how_to_make_it_again(workplace):
    run = ("dataset=digits", "model=mlp", "optimizer=sgd", *SMALL)
    assert command("run", *run).code == 0
    environment = directory() / "environment.json"
    written = json.loads(environment.read_text())
    assert "to make it again" not in command("run", *run).out
    written["fingerprint"]["method"] = "of other code"
    environment.write_text(json.dumps(written))
    as_written(directory())
    again = command("run", *run).out
    assert "already done" in again and "made by older code of its method; to make it again: rerun=stale\n" in again
    assert "1 stale" in command("retry", "--stale", "optimizer=sgd").out
    assert json.loads(environment.read_text())["fingerprint"]["method"] != "of other code"


EDITED = """
import torch

class Sgd(torch.optim.SGD):
    "An optimizer of the user's."
    def step(self, closure=None):
        return super().step(closure) * {factor}
"""


def test_a_result_of_an_edited_method_is_made_again_by_one_word(workplace, plugins, tmp_path):
    site = plugins("edited", {"edited.py": EDITED.format(factor=1)}, {"edited": "edited:Sgd"})
    words = ("-m", *SMALL, "optimizer=edited,sgd", "seed=0,1")
    assert command("run", *words).out.splitlines()[-1] == "4 runs: 4 done"
    before = {path: summary(path) for path in directories()}
    (site / "edited.py").write_text(EDITED.format(factor=2))
    method_code.forget()
    stale = "2 results made by older code of its method; "
    assert command("run", *words).out.splitlines() == [
        f"{stale}to make them again: rerun=stale",
        "4 runs: 4 done; nothing to do",
    ]
    one = command("run", *SMALL, "optimizer=edited", "seed=0").out
    assert "made by older code of its method; to make it again: rerun=stale\n" in one
    assert {path: summary(path) for path in directories()} == before  # without the word nothing is made
    del sys.modules["edited"]
    done = command("run", *words, "rerun=stale").out.splitlines()
    assert done[:2] == [f"{stale}made again, the old files are in runs/.old", "4 runs: 2 done, 2 to run"]
    assert done[-1] == "4 runs: 4 done" and {path: summary(path) == before[path] for path in directories()} == {
        path: "sgd" in path.parent.name for path in before
    }
    kept = sorted(Path("runs/.old").glob("*/seed-*/*"))
    assert [summary(path) for path in kept] == [found for path, found in before.items() if "edited" in path.parent.name]
    assert command("run", *words, "rerun=stale").out == "4 runs: 4 done; nothing to do\n"
    refused = command("run", *SMALL, "rerun=all")
    assert refused.code == 2 and "rerun: got 'all', allowed: none or stale" in refused.err


def test_a_single_stale_run_is_made_again_by_one_word(workplace, plugins):
    site = plugins("single", {"single.py": EDITED.format(factor=1)}, {"single": "single:Sgd"})
    words = (*SMALL, "optimizer=single")
    assert command("run", *words).code == 0
    (site / "single.py").write_text(EDITED.format(factor=2))
    method_code.forget()
    done = command("run", *words, "rerun=stale")
    assert (
        done.code == 0 and "made by older code of its method; made again, the old files are in runs/.old\n" in done.out
    )
    assert len(list(Path("runs/.old").glob("*/seed-0/*"))) == 1
    assert "already done" in command("run", *words, "rerun=stale").out


# The record of a plug-in


def recorded(path) -> dict:
    return json.loads((path / "environment.json").read_text()).get("plugins")


def git(folder, *words) -> str:
    own = ["-c", "user.name=me", "-c", "user.email=me@example.org"]
    return subprocess.run(["git", *own, *words], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


def test_the_record_has_the_version_and_the_checksum_of_a_plug_in(workplace, plugins):
    site = plugins(
        "theirs", {"theirs/__init__.py": "", "theirs/sgd.py": EDITED.format(factor=1)}, {"his": "theirs.sgd:Sgd"}
    )
    sha256 = hashlib.sha256((site / "theirs/sgd.py").read_bytes()).hexdigest()
    about = {"distribution": "theirs", "version": "1.2", "module": "theirs.sgd", "sha256": sha256}
    assert command("run", *SMALL, "optimizer=his").code == 0
    assert recorded(directory()) == {"optimizer": about | {"commit": None, "dirty": None}}  # no checkout


def test_the_record_says_whether_the_checkout_of_a_plug_in_has_changes(workplace, plugins):
    site = plugins(
        "theirs", {"theirs/__init__.py": "", "theirs/sgd.py": EDITED.format(factor=1)}, {"his": "theirs.sgd:Sgd"}
    )
    found = lambda: {key: plugins_of(run_with(**of_his).config)["optimizer"][key] for key in ("commit", "dirty")}
    of_his = {"optimizer": {"name": "his", "lr": 0.1}}
    git(site, "init", "-q")
    git(site, "add", "theirs")
    git(site, "commit", "-qm", "first")
    commit = git(site, "rev-parse", "HEAD")
    (site / "elsewhere").write_text("no file of the method")
    assert found() == {"commit": commit, "dirty": False}
    (site / "theirs/sgd.py").write_text(EDITED.format(factor=2))
    assert found() == {"commit": commit, "dirty": True}
    git(site, "commit", "-qam", "second")
    (site / "theirs/more.py").write_text("added, not committed")
    assert found() == {"commit": git(site, "rev-parse", "HEAD"), "dirty": True}
    (site / ".gitignore").write_text("theirs/\n")  # as an environment inside a checkout of something else
    git(site, "rm", "-rq", "--cached", "theirs")
    git(site, "commit", "-qm", "ignored")
    assert found() == {"commit": None, "dirty": None}


def test_companions_are_in_the_record_and_own_methods_are_not(workplace, plugins):
    plugins("theirs", {"theirs.py": EDITED.format(factor=1)}, {"his": "theirs:Sgd"})
    beside = ["instrument=directions", "+optimizer@instrument.companions.other=his", "log.every=1"]
    assert command("run", *SMALL, *beside).code == 0
    assert list(recorded(directory())) == ["instrument.companions.other"]
    assert command("run", *SMALL, f"runs={workplace}/own").code == 0 and recorded(directory(workplace / "own")) is None


@pytest.fixture
def mine(plugins):
    plugins("runs-mine", {"runs_mine.py": PLUGIN}, {"mine": "runs_mine:Sgd"})


# Each run is made exactly once


def test_the_directory_of_a_run(workplace):
    done = command("run", *SMALL)
    path = directory()
    assert done.code == 0 and not done.err
    assert done.out.splitlines()[-1] == str(path)
    assert {file.name for file in path.iterdir()} == {
        "config.yaml",
        "environment.json",
        "lock",
        "metrics.jsonl",
        "run.json",
        "summary.json",
    }
    environment = json.loads((path / "environment.json").read_text())
    assert {"torch", "python", "threads", "device", "commit", "host"} <= environment.keys()
    record = summary(path)
    assert (record["status"], record["steps"], record["parameters"]) == ("done", 2, 64 * 4 + 4 + 4 * 10 + 10)
    assert record["peak_host_bytes"] > 1e7 and record["state_bytes"] == 0
    assert record["metrics_bytes"] == (path / "metrics.jsonl").stat().st_size
    assert [(row["kind"], row["step"]) for row in rows(path)] == [("eval", 0), ("train", 2), ("eval", 2)]
    assert command("status").out.count("done 1") == 1


def test_again_does_no_work(workplace):
    command("run", *SMALL)
    before = {file: (file.stat().st_mtime_ns, file.read_bytes()) for file in directory().iterdir()}
    again = command("run", *SMALL)
    assert again.code == 0 and "already done, nothing to do" in again.out
    sweep = command("run", "-m", *SMALL, "seed=0")
    assert sweep.code == 0 and sweep.out == "1 run: 1 done; nothing to do\n"
    assert {file: (file.stat().st_mtime_ns, file.read_bytes()) for file in directory().iterdir()} == before


NO_TORCH = """
import sys
from sobench import cli
for words in sys.argv[1:]:
    assert cli.main(words.split()) == 0, words
    assert not {"torch", "sklearn", "matplotlib"} & set(sys.modules), words
"""


def test_what_trains_nothing_imports_no_torch(workplace):
    small = " ".join(SMALL)
    command("run", *SMALL)
    words = [
        "list optimizers",
        "list datasets",
        "list models",
        "list losses",
        "list experiments",
        "show kfac",
        "show mnist",
        "show demo/digits",
        "status",
        "data list",
        "status demo/digits",
        f"run {small}",
        f"run -m {small} seed=0",
        "run --cfg job",
        "run --help",
    ]
    done = subprocess.run([sys.executable, "-c", NO_TORCH, *words], capture_output=True, text=True, env=os.environ)
    assert done.returncode == 0, done.stderr
    assert "already done, nothing to do" in done.stdout


def test_two_sweeps_share_a_run(workplace):
    first = command("run", "-m", *SMALL, "seed=0,1", "optimizer.lr=0.5")
    second = command("run", "-m", *SMALL, "seed=1,2", "optimizer.lr=0.5,0.25", "log.every=10", "reports=other")
    assert first.out.splitlines()[0] == "2 runs: 2 to run" and first.out.splitlines()[-1] == "2 runs: 2 done"
    assert second.out.splitlines()[0] == "4 runs: 1 done, 3 to run"
    assert second.out.splitlines()[-1] == "4 runs: 4 done"
    assert len(directories()) == 5


def test_same_seed_same_bits(workplace):
    assert command("run", *SMALL, "runs=one").code == command("run", *SMALL, "runs=two").code == 0
    assert result(directory(workplace / "one")) == result(directory(workplace / "two"))
    assert command("run", *SMALL, "runs=three", "seed=1").code == 0
    assert (
        summary(directory(workplace / "three"))["parameters_sha256"]
        != summary(directory(workplace / "one"))["parameters_sha256"]
    )


# Results that are not numbers


def test_divergence_is_a_result(workplace):
    words = ["-m", "threads=1", "budget.steps=30", "model.widths=[100,100]", "optimizer.lr=1e6,0.1", "evaluate.steps=5"]
    done = command("run", *words)
    assert done.code == 0 and done.out.splitlines()[-1] in ("2 runs: 1 diverged, 1 done", "2 runs: 1 done, 1 diverged")
    path = next(path for path in directories() if summary(path)["status"] == "diverged")
    step = int(summary(path)["reason"].split()[-1])
    assert 1 <= step <= summary(path)["steps"] <= 30 and "nan" in summary(path)["reason"]
    assert rows(path)[-1]["step"] == summary(path)["steps"]
    assert "diverged: " + summary(path)["reason"] in " ".join(command("status").out.split())
    assert command("run", *words).out in (
        "2 runs: 1 diverged, 1 done; nothing to do\n",
        "2 runs: 1 done, 1 diverged; nothing to do\n",
    )
    assert "already diverged, nothing to do" in command("run", *words[1:4], "optimizer.lr=1e6", "evaluate.steps=5").out


@pytest.mark.parametrize(
    "mode, reason",
    [
        ("raise", "ArithmeticError: matrix is singular (step 1)"),
        ("memory", "OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 GiB (step 1)"),
        (
            "none returned",
            "TypeError: the optimizer's step(f) returned None; allowed: the loss, `return loss` (step 2)",
        ),
        ("constructor", "RuntimeError: cannot be made"),
    ],
)
def test_a_failure_is_recorded_and_tried_again(workplace, mine, mode, reason):
    done = command("run", "-m", *SMALL, "optimizer=mine", f"optimizer.mode='{mode}','none'", "seed=0,1")
    assert done.code == 1 and not done.err
    status = "out-of-memory" if mode == "memory" else "failed"
    assert done.out.splitlines()[-1] in (f"4 runs: 2 {status}, 2 done", f"4 runs: 2 done, 2 {status}")
    failed = [path for path in directories() if summary(path)["status"] == status]
    assert [summary(path)["reason"] for path in failed] == [reason, reason]
    assert (
        reason.split(":")[0] in (failed[0] / "error.txt").read_text()
        and "Traceback" in (failed[0] / "error.txt").read_text()
    )
    again = command("run", "-m", *SMALL, "optimizer=mine", f"optimizer.mode='{mode}'", "seed=0")
    assert again.out.splitlines()[0] == "1 run: 1 to run" and again.code == 1
    single = command("run", *SMALL, "optimizer=mine", f"optimizer.mode='{mode}'")
    assert single.code == 1 and f"{status} ({reason})" in single.out


def test_a_run_that_failed_and_then_does_not(workplace, mine, monkeypatch):
    words = [*SMALL, "optimizer=mine", "optimizer.mode=raise"]
    assert command("run", *words).code == 1
    failed = summary(directory())
    import runs_mine

    monkeypatch.setattr(runs_mine.Sgd, "step", runs_mine.torch.optim.SGD.step)
    assert command("run", *words).code == 0
    assert failed["status"] == "failed" and summary(directory())["status"] == "done"
    assert not (directory() / "error.txt").exists()


def test_a_plugin_cannot_overwrite_the_record(workplace, mine):
    assert command("run", *SMALL, "optimizer=mine", "optimizer.mode=diagnostics").code == 0
    (row,) = rows(directory(), "train")
    assert row["step"] == 2 and row["loss"] > 0 and row["seconds"] > 0 and row["mine"] == 2.5


def test_what_is_wrong_in_sobench_itself_is_shown_and_the_sweep_goes_on(workplace, monkeypatch):
    from sobench.execution import attempt

    true = attempt.execute

    def execute(run, *args):
        if run.seed == 0:
            raise AssertionError("a mistake of ours")
        return true(run, *args)

    monkeypatch.setattr(attempt, "execute", execute)
    done = command("run", "-m", *SMALL, "seed=0,1")
    assert done.code == 1 and "AssertionError: a mistake of ours" in done.err
    assert done.out.splitlines()[-1] == "2 runs: 1 failed, 1 done"


# Two processes at the same time


def test_two_processes_on_one_run(workplace):
    words = ["run", "threads=1", "model.widths=[4]", "budget.epochs=1000000", "log.every=1", "evaluate.every=100000"]
    first = process(*words, folder=workplace)
    try:
        while not list(workplace.glob("runs/*/*/metrics.jsonl")):
            assert first.is_alive(), output(workplace)
            time.sleep(0.01)
        second = command(*words)
        shown = command("status")
    finally:
        first.kill()
        first.join()
    assert second.code == 1 and not second.out
    (line,) = second.errors
    assert line.startswith("sobench: digits mlp sgd seed 0 is being run by process ")
    assert f" {first.pid}@{os.uname().nodename} " in line and str(directory()) in line
    assert "running 1" in shown.out
    assert "interrupted 1" in command("status").out


def test_a_sweep_waits_for_a_run_of_another_process_and_makes_it_if_that_dies(workplace):
    words = [*SMALL, "budget.steps=40", "log.every=1"]
    (run,) = expand(words)
    with RunDirectory(run, "runs").held():
        sweep = process("run", "-m", *words, "seed=0,1", folder=workplace)
        while "waiting for 1 run" not in (output(workplace) if (workplace / "out.txt").exists() else ""):
            assert sweep.is_alive(), output(workplace)
            time.sleep(0.01)
        assert command("status").out.count("running 1") == 1
    assert finish(sweep) == 0
    assert output(workplace).splitlines()[-1] == "2 runs: 2 done"


def note_training() -> None:
    """In the started process: every call of Trainer.train writes a line."""
    from sobench.training.trainer import Trainer

    true = Trainer.train

    def train(*args):
        with open("trained", "a") as file:
            file.write(f"{os.getpid()}\n")
        return true(*args)

    Trainer.train = train


def test_many_processes_make_one_run(workplace):
    words = ["run", *SMALL, "budget.steps=40", "log.every=1"]
    started = [process(*words, folder=workplace, prepare=note_training) for _ in range(4)]
    codes = sorted(finish(one) for one in started)
    assert set(codes) <= {0, 1} and 0 in codes
    assert output(workplace).count("is being run by") == codes.count(1)
    assert len((workplace / "trained").read_text().splitlines()) == 1
    assert summary(directory())["status"] == "done"
    assert [row["step"] for row in rows(directory(), "train")] == list(range(1, 41))


def test_held_names_nobody_it_does_not_know(tmp_path):
    one, other = (RunDirectory(run_with(), tmp_path) for _ in range(2))
    with one.held():
        (one.path / "holder.json").write_text("[]")
        with pytest.raises(Held, match="is being run by another process"), other.held():
            pass
    with other.held():
        assert json.loads((one.path / "holder.json").read_text())["pid"] == os.getpid()
    assert not (one.path / "holder.json").exists()


def test_a_held_directory_is_freed_by_an_error(tmp_path):
    directory = RunDirectory(run_with(), tmp_path)
    with pytest.raises(ZeroDivisionError), directory.held():
        raise ZeroDivisionError
    with directory.held():
        pass
