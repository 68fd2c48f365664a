"""No process of a sweep survives a launcher that is killed, and its runs resume to the bits of an undisturbed sweep."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from deaths import marked
from harness import command, directories, installed, output, process, result
from wandb_server import Server

from sobench.system.parent import Owner

pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="processes are found by /proc")

SECONDS = 10.0
"""Seconds that the processes of a sweep have to end after their launcher."""

SETTINGS = ("threads=1", "model.widths=[4]", "budget.epochs=null", "log.every=10", "checkpoint.seconds=0", "seed=0,1")
QUIET = ("progress=false",)
SHORT, LONG = "budget.steps=300", "budget.steps=100000000"
JOBLIB = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
SWEEPS = {
    "joblib": JOBLIB,
    "submitit_local": ("hydra/launcher=submitit_local",),
    "ray": ("hydra/launcher=ray",),
    "isolated": ("hydra/launcher=basic", "isolate=true"),
    "isolated-joblib": (*JOBLIB, "isolate=true"),
}


@pytest.fixture
def mark(workplace):
    """The marker in the environment of every program that the test's sweep starts. At the end those left are killed."""
    mark = f"SWEEP_OF_TEST={workplace}".encode()
    yield mark
    for pid in marked(mark):
        os.kill(pid, signal.SIGKILL)


def survivors(mark: bytes) -> dict[int, str]:
    """The programs with the marker that still run when their time is up."""
    end = time.monotonic() + SECONDS
    while (found := marked(mark)) and time.monotonic() < end:
        time.sleep(0.05)
    return found


def kill_launcher(*words: str, folder: Path, until) -> None:
    """Start `sobench run -m WORDS`, and kill it when `until` holds."""
    started = process("run", "-m", *SETTINGS, *QUIET, *words, folder=folder, SWEEP_OF_TEST=str(folder))
    while not until():
        assert started.is_alive(), output(folder)
        time.sleep(0.01)
    started.kill()
    started.join()


def begun(root: Path) -> bool:
    """Whether a run has rows of two evaluations."""
    records = [path / "metrics.jsonl" for path in directories(root)]
    return any(record.exists() and record.read_bytes().count(b"\n") > 2 for record in records)


@pytest.mark.skipif(not installed("hydra/launcher", "joblib"), reason="not installed")
def test_joblib_leaves_no_process_and_its_runs_resume(workplace, mark):
    kill_launcher(*JOBLIB, SHORT, folder=workplace, until=lambda: begun(workplace / "runs"))
    assert not survivors(mark)
    assert len(list(workplace.glob("runs/*/seed-*/summary.json"))) < 2  # killed in the middle
    for root in ("runs", "undisturbed"):
        assert command("run", "-m", *SETTINGS, *QUIET, SHORT, f"runs={root}").code == 0
    for path in directories(workplace / "runs"):
        assert result(path) == result(workplace / "undisturbed" / path.relative_to(workplace / "runs"))


@pytest.mark.slow
@pytest.mark.parametrize("name", SWEEPS)
def test_a_killed_launcher_leaves_no_process(workplace, mark, name):
    if not installed("hydra/launcher", name.removeprefix("isolated-").replace("isolated", "basic")):
        pytest.skip("not installed")
    kill_launcher(*SWEEPS[name], LONG, folder=workplace, until=lambda: begun(workplace / "runs"))
    assert not survivors(mark)


@pytest.mark.slow
@pytest.mark.skipif(not installed("hydra/launcher", "joblib"), reason="not installed")
@pytest.mark.parametrize("seconds", [1.0, 2.0, 3.0, 4.0, 6.0, 8.0])
@pytest.mark.parametrize("isolate", ["true", "false"])
def test_a_launcher_that_is_killed_while_its_workers_start(workplace, mark, seconds, isolate):
    end = time.monotonic() + seconds
    kill_launcher(*JOBLIB, f"isolate={isolate}", LONG, folder=workplace, until=lambda: time.monotonic() > end)
    assert not survivors(mark)


@pytest.mark.slow
@pytest.mark.skipif(
    not (installed("hydra/launcher", "joblib") and installed("logger", "wandb")), reason="not installed"
)
@pytest.mark.parametrize("launcher", ["joblib", "isolated"])
def test_the_process_of_wandb_ends_too_though_its_server_does_not_answer(workplace, mark, monkeypatch, launcher):
    monkeypatch.setenv("WANDB_API_KEY", "markedkey0" * 4)
    with Server() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        server.mute.set()
        until = lambda: begun(workplace / "runs") and server.runs
        kill_launcher(*SWEEPS[launcher], LONG, "logger=wandb", folder=workplace, until=until)
        assert any("loggers.wandb.main" in line for line in marked(mark).values())
        assert not survivors(mark)


OWNED = """
import sys, time
from sobench.system.parent import Owner, end_with
end_with(Owner(int(sys.argv[1]), sys.argv[2]))
print("owned", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("stopped", [False, True])
def test_the_owner_may_be_any_process_and_its_child_may_be_stopped(stopped):
    """A stopped process runs no thread: it is ended by the signal at its direct parent's death."""
    middle = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {OWNED!r}, *sys.argv[1:]])"
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        owner = Owner.of(other.pid)
        words = [sys.executable, "-c", middle, str(owner.pid), owner.started]
        with subprocess.Popen(words, stdout=subprocess.PIPE) as parent:
            assert parent.stdout.readline() == b"owned\n"
            (child,) = map(int, Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split())
            if stopped:
                os.kill(child, signal.SIGSTOP)
            (parent if stopped else other).kill()
            assert parent.stdout.read() == b""  # the pipe ends with the child
        other.kill()
    assert not owner.alive()


def test_an_owner_that_has_ended_before_and_whose_id_belongs_to_another_process():
    gone = Owner(os.getpid(), "1")  # this process began later
    assert not gone.alive()
    gone.wait()
    words = [sys.executable, "-c", OWNED, str(gone.pid), gone.started]
    ended = subprocess.run(words, capture_output=True, timeout=30)
    assert ended.returncode == 1 and ended.stdout == b""
