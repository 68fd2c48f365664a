"""A run in a separate process: the same result and errors as in this process; a crash affects no other run."""

import json
import multiprocessing
import os
import signal
import threading
import time

import pytest
import torch
from harness import command, directory, result, rows, run_with, summary

from sobench.errors import UsageError
from sobench.execution import isolation
from sobench.execution.isolation import execute_isolated, isolated
from sobench.results.rundir import Held, RunDirectory
from sobench.system import devices
from sobench.system.parent import Owner

PLUGIN = '''
import os, signal, time
import torch

class Odd(Exception):
    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")

class Sgd(torch.optim.SGD):
    requires = frozenset({"closure"})  # no rehearsal

    """Does what its mode says, in the third step."""
    def __init__(self, params, lr=0.1, mode="none"):
        super().__init__(params, lr=lr)
        self.mode, self.steps = mode, 0

    def step(self, f):
        self.steps += 1
        if self.steps == 3:
            if self.mode == "wait":
                open("waiting", "w").close()
                time.sleep(1)
            elif self.mode == "exit":
                os._exit(3)
            elif self.mode == "leaky":
                torch.set_default_dtype(torch.float64)
                torch.set_grad_enabled(False)
                raise RuntimeError("between two statements")
            elif self.mode == "odd":
                raise Odd(1, 2)
            elif self.mode.startswith("SIG"):
                os.kill(os.getpid(), getattr(signal, self.mode))
        return super().step(f)
'''
FOUR = ("threads=1", "model.widths=[4]", "budget.epochs=null", "budget.steps=4", "log.every=1", "checkpoint.seconds=0")


@pytest.fixture
def mine(plugins):
    plugins("isolated-mine", {"isolated_mine.py": PLUGIN}, {"isolated": "isolated_mine:Sgd"})


def odd(mode: str, *words: str):
    return command("run", *FOUR, "optimizer=isolated", f"optimizer.mode={mode}", "isolate=true", *words)


@pytest.mark.parametrize(
    "setting, device, apart",
    [
        ("auto", "cpu", False),
        ("auto", "cuda", True),
        ("auto", "cuda:1", True),
        (True, "cpu", True),
        (False, "cuda", False),
    ],
)
def test_which_runs_get_a_process(setting, device, apart):
    assert isolated(run_with(isolate=setting, device=device).config) is apart


@pytest.mark.parametrize("setting, apart", [("auto", True), (False, False)])
def test_a_run_that_may_end_at_any_statement_gets_a_process(setting, apart):
    assert isolated(run_with(isolate=setting, timeout=60).config) is apart


def test_what_a_run_leaves_behind_changes_no_run_after_it(workplace, mine):
    """Its optimizer changes settings of torch for the whole process, and an exception ends it."""
    words = ["run", *FOUR, "isolate=false"]
    assert command(*words, "runs=alone").code == 0
    assert command(*words, "optimizer=isolated", "optimizer.mode=leaky", "runs=leaky").code == 1
    assert torch.is_grad_enabled() and torch.get_default_dtype() == torch.float32
    assert command(*words, "runs=after").code == 0
    assert result(directory(workplace / "after")) == result(directory(workplace / "alone"))


def test_what_the_import_of_a_plugin_changes_changes_no_result(workplace):
    """In a process of its own the import comes with the run; in this one it may have come before."""
    (workplace / "early.py").write_text("import torch\ntorch.set_default_dtype(torch.float64)\nSgd = torch.optim.SGD\n")
    words = ["run", *FOUR, "optimizer=early.py:Sgd", "optimizer.lr=0.1"]
    try:
        for isolate in ("true", "false"):
            done = command(*words, f"isolate={isolate}", f"runs=own-{isolate}")
            assert done.code == 0, done
    finally:
        torch.set_default_dtype(torch.float32)
    assert result(directory(workplace / "own-true")) == result(directory(workplace / "own-false"))


def test_the_same_bits_and_the_same_words(workplace):
    here = command("run", *FOUR, "isolate=false", "runs=here")
    apart = command("run", *FOUR, "isolate=true", "runs=apart")
    assert here.code == apart.code == 0 and not apart.err
    assert result(directory(workplace / "apart")) == result(directory(workplace / "here"))
    end = lambda out: out.splitlines()[0].partition(" steps")[0]
    assert end(apart.out) == end(here.out) == "digits mlp sgd seed 0: done: 4"
    assert {file.name for file in directory(workplace / "apart").iterdir()} == {
        "config.yaml",
        "environment.json",
        "lock",
        "metrics.jsonl",
        "run.json",
        "summary.json",
    }


def test_progress_and_lines_come_through(workplace, mine):
    assert odd("SIGKILL").code == 1
    seen, lines = [], []
    run = run_with(
        optimizer={"name": "isolated", "lr": 0.1, "mode": "SIGKILL"},
        budget__epochs=None,
        budget__steps=4,
        log__every=1,
        checkpoint__seconds=0,
    )
    found = execute_isolated(run, RunDirectory(run, "runs"), lambda *row: seen.append(row), lines.append)
    assert found["status"] == "done"  # it ends in the second step of this process
    assert lines == [f"{directory()}: resuming from step 2"]
    assert [(step, limit) for step, limit, _ in seen] == [(3, 4), (4, 4)] and all(row["loss"] > 0 for _, _, row in seen)


def test_errors_are_raised_here(workplace, mine):
    run = run_with(batch_size=100000)
    with pytest.raises(UsageError, match="batch_size: got 100000.*at most 1437"):
        execute_isolated(run, RunDirectory(run, "runs"), print, print)
    run = run_with()
    with RunDirectory(run, "runs").held(), pytest.raises(Held, match=f"is being run by process {os.getpid()}@"):
        execute_isolated(run, RunDirectory(run, "runs"), print, print)
    assert odd("odd", "runs=odd").code == 1  # an error of a plug-in is the result of its run
    assert summary(directory(workplace / "odd"))["reason"] == "Odd: 1 and 2 (step 3)"


class Two(Exception):
    def __init__(self, one, two):
        super().__init__(one)


def test_an_error_that_cannot_be_sent_is_described(monkeypatch):
    sent = isolation._picklable(Two("first", "second"))
    assert type(sent) is RuntimeError and str(sent) == "Two: first" and "Two: first" in sent.__notes__[0]
    error = ValueError("plain")
    assert isolation._picklable(error) is error


@pytest.mark.parametrize(
    "mode, reason",
    [
        ("SIGKILL", "killed by signal 9 (SIGKILL)"),
        ("SIGSEGV", "killed by signal 11 (SIGSEGV)"),
        ("exit", "its process ended with exit code 3, without a result"),
    ],
)
def test_the_death_of_a_process_is_the_result_of_its_run(workplace, mine, mode, reason):
    done = command("run", "-m", *FOUR, "optimizer=isolated", f"optimizer.mode={mode},none", "isolate=true")
    assert done.code == 1 and not done.err and f"failed ({reason}): 2 steps" in done.out
    assert done.out.splitlines()[-1] in ("2 runs: 1 failed, 1 done", "2 runs: 1 done, 1 failed")
    (path,) = [path for path in workplace.glob("runs/*/seed-0") if summary(path)["status"] == "failed"]
    assert summary(path)["reason"] == reason and [row["step"] for row in rows(path, "train")] == [1, 2]
    assert json.loads((path / "environment.json").read_text())["threads"] == 1 and (path / "checkpoint.pt").exists()


def test_memory_that_is_used_up_is_a_result(workplace, mine, monkeypatch):
    kills = iter([4, 5])
    monkeypatch.setattr(devices, "out_of_memory_kills", lambda: next(kills))
    assert odd("SIGKILL").code == 1
    assert (summary(directory())["status"], summary(directory())["reason"]) == (
        "out-of-memory",
        "killed by signal 9 (SIGKILL): the machine's memory was used up",
    )
    assert "out-of-memory 1" in command("status").out


def interrupt_when_waiting(folder) -> threading.Thread:
    """Send Ctrl-C to this process alone, as soon as the run reaches its third step."""

    def press() -> None:
        while not (folder / "waiting").exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=press)
    thread.start()
    return thread


def test_an_interrupt_reaches_the_process_once(workplace, mine):
    """It saves a checkpoint at the next row of its record and ends; the run resumes from there."""
    pressed = interrupt_when_waiting(workplace)
    assert odd("wait").code == 130
    pressed.join()
    assert not multiprocessing.active_children()
    assert [row["step"] for row in rows(directory(), "train")] == [1, 2, 3] and (directory() / "checkpoint.pt").exists()
    assert "interrupted 1" in command("status").out
    again = odd("wait")
    assert again.code == 0 and "resuming from step 3" in again.out


def _parent(write: int) -> None:
    """Start a process that would write "late" after a while."""

    def execute(*args) -> None:
        os.write(write, b"begun")
        time.sleep(30)
        os.write(write, b"late")

    isolation._execute = execute
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    child = context.Process(target=isolation._main, args=(theirs, None, None, Owner.this_process(), {**os.environ}, 1))
    child.start()
    child.join()


def test_a_process_does_not_outlive_its_parent():
    read, write = os.pipe()
    parent = multiprocessing.get_context("fork").Process(target=_parent, args=(write,))
    parent.start()
    os.close(write)
    assert os.read(read, 5) == b"begun"
    parent.kill()
    parent.join()
    assert os.read(read, 5) == b""  # no process has the other end open any more
    os.close(read)


def test_a_word_that_nobody_hears_ends_the_process():
    """It must not become a failure of the run, which a later command resumes."""

    def talk() -> None:
        ours, theirs = multiprocessing.Pipe(duplex=False)
        ours.close()
        try:
            isolation._send(theirs, "say", ("anyone?",))
        finally:
            os._exit(7)

    child = multiprocessing.get_context("fork").Process(target=talk)
    child.start()
    child.join()
    assert child.exitcode == 1
