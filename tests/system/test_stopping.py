"""How runs and sweeps are stopped: a signal, a time limit, a failure where one is enough."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest
from harness import SMALL, command, directories, directory, finish, output, process, result, rows, summary

from sobench.results.rundir import Metrics
from sobench.results.state import state
from sobench.system import stopping

LONG = ("threads=1", "model.widths=[4]", "progress=false", "budget.epochs=null")
OFTEN = ("log.every=3", "checkpoint.seconds=0")


def listens() -> None:
    """A fork server ignores ^C, and its children inherit that."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def begun(folder: Path, started) -> None:
    """Wait for its second row."""
    while sum(file.read_bytes().count(b"\n") for file in folder.glob("runs/*/*/metrics.jsonl")) < 2:
        assert started.is_alive(), output(folder)
        time.sleep(0.01)


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_sweep_is_asked_to_stop_and_goes_on_to_the_same_bits(workplace, tmp_path, number, code):
    words = ["run", "-m", *LONG, *OFTEN, "budget.steps=90", "seed=0,1"]
    assert command(*words, f"runs={tmp_path}/quiet").code == 0
    started = process(*words, folder=workplace, prepare=listens)
    begun(workplace, started)
    os.kill(started.pid, number)
    assert finish(started) == code
    said = output(workplace).splitlines()
    assert any(line.startswith(f"{number.name}: going on to the next checkpoint") for line in said)
    assert said[-2] == "2 runs: 1 interrupted, 1 missing" and said[-1].startswith(
        "sobench: stopped; repeat the command to resume"
    )
    assert (directory() / "checkpoint.pt").exists() and not list(Path("runs/.sweeps").iterdir())
    assert rows(directory(), "train")[-1]["step"] % 3 == 0
    again = command(*words)
    assert again.code == 0 and "resuming from step " in again.out
    assert [result(path) for path in directories()] == [result(path) for path in directories(tmp_path / "quiet")]


@pytest.mark.parametrize("what", [["run"], ["run", "-m", "seed=0,1"]])
def test_a_second_signal_leaves_at_once(workplace, what):
    words = [*what, *LONG, "checkpoint.seconds=0", "log.every=1000000", "budget.steps=100000000"]
    started = process(*words, folder=workplace, prepare=listens)
    while not list(workplace.glob("runs/*/*/holder.json")):
        assert started.is_alive(), output(workplace)
        time.sleep(0.01)
    time.sleep(0.3)  # it listens from the moment it holds the run
    os.kill(started.pid, signal.SIGINT)
    while "going on to the next checkpoint" not in output(workplace):
        assert started.is_alive(), output(workplace)
        time.sleep(0.01)
    os.kill(started.pid, signal.SIGINT)
    assert finish(started) == 130 and "fail_fast" not in output(workplace)


FACTORS = """
import os
import torch

class Factors(torch.optim.SGD):
    "SGD whose fifth step decomposes a matrix for minutes, unless the environment says otherwise."
    def __init__(self, params, lr: float = 0.1):
        super().__init__(params, lr=lr)
        self.steps = 0

    def step(self, closure=None):
        self.steps += 1
        if self.steps == 5 and "QUICK" not in os.environ:
            A = torch.randn(8000, 8000, generator=torch.Generator().manual_seed(0))
            open("decomposing", "w").close()
            torch.linalg.eigh(A + A.T)
        return super().step(closure)
"""


@pytest.mark.parametrize(
    "what, second, code",
    [
        pytest.param(["run"], signal.SIGINT, 130, marks=pytest.mark.slow),
        (["run", "-m", "hydra.sweeper.batch=1"], signal.SIGTERM, 143),
    ],
)
def test_a_second_signal_leaves_a_call_of_lapack(workplace, plugins, monkeypatch, what, second, code):
    """Python's handlers run in the main thread, which is in the library: two signals used to do nothing."""
    plugins("factoring", {"factoring.py": FACTORS}, {"factors": "factoring:Factors"})
    words = [*what, *LONG, *OFTEN, "budget.steps=9", "optimizer=factors"]
    started = process(*words, folder=workplace, prepare=listens)
    while not (workplace / "decomposing").exists():
        assert started.is_alive(), output(workplace)
        time.sleep(0.01)
    time.sleep(0.2)
    os.kill(started.pid, signal.SIGINT)
    while "SIGINT: going on to the next checkpoint" not in output(workplace):
        assert started.is_alive(), output(workplace)
        time.sleep(0.01)
    begun = time.monotonic()
    os.kill(started.pid, second)
    assert finish(started) == code and time.monotonic() - begun < 2 * stopping.LEAVE + 2
    assert output(workplace).splitlines()[-1].startswith("sobench: stopped in the middle of a step; repeat the command")
    assert directories() and "interrupted 1" in command("status").out
    monkeypatch.setenv("QUICK", "1")
    again = command(*words)
    assert again.code == 0 and "resuming from step 3" in again.out and summary(directory())["steps"] == 9


def test_a_run_is_on_record_from_its_first_row(tmp_path):
    """A process that is ended in its first step leaves a run that is interrupted, not one that is missing."""
    record = Metrics(tmp_path / "metrics.jsonl")
    record.append({"kind": "eval", "step": 0})
    assert state(tmp_path).status == "interrupted"
    record.close()


def test_a_run_that_takes_too_long_goes_on_when_it_is_tried_again(workplace, tmp_path):
    words = ["run", *LONG, "budget.steps=3000", "log.every=100", "evaluate.every=100", "checkpoint.seconds=0.1"]
    first = command(*words, "timeout=0.3")
    assert first.code == 1 and "timed-out (TimedOut: longer than timeout=0.3 s (step " in first.out
    assert summary(directory())["status"] == "timed-out" and "timed-out 1" in command("status").out
    retried = command("retry", "--timed-out", "timeout=null")
    assert retried.code == 0 and "retry: 1 timed-out" in retried.out and "resuming from step " in retried.out
    assert command(*words, f"runs={tmp_path}/quiet").code == 0
    assert result(directory()) == result(directory(tmp_path / "quiet"))


def test_one_failure_is_enough(workplace):
    sweep = ["run", "-m", *SMALL, "batch_size=5000,64", "seed=0,1", "sweep.fail_fast=true"]
    done = command(*sweep)
    assert done.code == 1
    assert done.out.splitlines()[-2:] == [
        "4 runs: 3 missing, 1 failed",
        "sweep.fail_fast: a run failed, the others were stopped; repeat the command to run them",
    ]
    assert command(*sweep[:-1]).out.splitlines()[-1] in ("4 runs: 2 failed, 2 done", "4 runs: 2 done, 2 failed")


def test_what_is_not_to_be_made_is_not_composed(workplace, monkeypatch):
    from sobench.execution.remote import JobLoader

    composed, compose = [], JobLoader.load_sweep_config
    monkeypatch.setattr(JobLoader, "load_sweep_config", lambda *args: composed.append(args) or compose(*args))
    assert command("run", "-m", *SMALL, "batch_size=5000,64", "seed=range(50)", "sweep.fail_fast=true").code == 1
    assert len(composed) == 1


def test_a_launcher_that_comes_to_nothing_is_given_up(workplace, monkeypatch):
    from sobench.execution import launchers

    calls = []

    def launch(launcher, settings, jobs):
        calls.append(len(jobs))
        raise RuntimeError("no worker\n  traceback\nKilled: it is gone")

    monkeypatch.setattr(launchers, "launch", launch)
    done = command("run", "-m", *SMALL, "seed=0,1")
    assert done.code == 1 and calls == [2, 2, 2]
    assert done.errors == [
        "sobench: hydra/launcher: basic made no progress 3 times in a row "
        "(RuntimeError: no worker Killed: it is gone); "
        "repeat the command to run what is missing"
    ]
    assert done.out.count("a worker was lost") == 2 and stopping.SWEEP not in os.environ


SWALLOWS = """
import time
import torch

class Sgd(torch.optim.SGD):
    requires = frozenset({"closure"})  # no rehearsal

    def step(self, f):
        try:
            time.sleep(0.02)
        except Exception:
            open("swallowed", "w").close()
        return super().step(f)
"""


def test_code_that_catches_everything_does_not_lift_the_time_limit(workplace):
    (workplace / "mine.py").write_text(SWALLOWS)
    words = ["run", *LONG, "optimizer=mine.py:Sgd", "optimizer.lr=0.1", "budget.steps=1000", "log.every=10"]
    done = command(*words, "timeout=0.5", "isolate=false")
    assert done.code == 1 and "timed-out (TimedOut: longer than timeout=0.5 s (step " in done.out
    assert summary(directory())["steps"] < 500


def test_a_time_limit_holds_in_every_thread():
    def limited() -> None:
        with stopping.time_limit(0.05) as check:
            check()
            time.sleep(0.1)
            with pytest.raises(stopping.TimedOut):
                check()
            done.append(True)

    done = []
    thread = threading.Thread(target=limited)
    thread.start()
    thread.join()
    assert done


def test_no_time_limit():
    with stopping.time_limit(None) as check:
        check()


def test_time_limits_end_with_their_context():
    with pytest.raises(stopping.TimedOut), stopping.time_limit(0.05):
        time.sleep(5)
    with stopping.time_limit(0.05):
        pass
    time.sleep(0.1)
