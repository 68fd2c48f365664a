"""The copies of a sweep's runs hold every row of their records, by whichever launcher, however the sweep ended.

The rows are counted on both sides as soon as the command has ended: in metrics.jsonl, and in what the logger wrote.
"""

import csv
import itertools
import json
import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from harness import command, directories, finish, installed, output, process, rows, summary
from wandb_server import Server

from sobench.results.loggers.wandb import process as wandb_process
from sobench.results.loggers.wandb import receipts, remote_state

KEY = "markedkey0" * 4

BREAKS = """
import torch

class Breaks(torch.optim.SGD):
    requires = frozenset({"closure"})  # no rehearsal

    "SGD that raises an exception in its step number `at`."
    def __init__(self, params, lr: float = 0.1, at: int = 8):
        super().__init__(params, lr=lr)
        self.at, self.steps = at, 0

    def step(self, closure=None):
        self.steps += 1
        if self.steps == self.at:
            raise RuntimeError("broken on purpose")
        return super().step(closure)
"""

SETTINGS = ("threads=1", "model.widths=[4]", "budget.epochs=null", "log.every=2", "checkpoint.seconds=0")
SHORT, LONG = "budget.steps=20", "budget.steps=100000000"

LAUNCHERS = {
    "basic": ["hydra/launcher=basic"],
    "isolated": ["hydra/launcher=basic", "isolate=true"],
    "joblib": ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"],
    "submitit_local": ["hydra/launcher=submitit_local"],
    "ray": ["hydra/launcher=ray"],
}
MIRRORS = {
    "csv": ["logger=csv"],
    "tensorboard": ["logger=tensorboard"],
    "wandb": ["logger=wandb", "logger.mode=offline"],
}
ENDS = {
    "done": (["seed=0,1,2", SHORT], None, 0),
    "failed": (["optimizer=breaks", "seed=0,1,2", SHORT], None, 1),
    "Ctrl-C": (["seed=0,1,2", LONG], signal.SIGINT, 130),
    "SIGTERM": (["seed=0,1,2", LONG], signal.SIGTERM, 143),
    "fail_fast": (["optimizer=breaks,sgd", "optimizer.lr=0.1", "seed=0", LONG, "sweep.fail_fast=true"], None, 1),
}
"""By name: the settings, the signal, the exit code. In `fail_fast` the first run fails, the other is stopped."""

FAST = {("wandb", "basic", "done"), ("wandb", "joblib", "SIGTERM")}
"""Those of the fast tests: an end of each kind, and the launcher that ends its workers."""


def needed(mirror: str, launcher: str) -> bool:
    """Whether what the case needs is installed."""
    return installed("logger", mirror) and installed("hydra/launcher", launcher)


CASES = [
    pytest.param(
        *case,
        id="-".join(case),
        marks=[
            *([] if case in FAST else [pytest.mark.slow]),
            pytest.mark.skipif(not needed(*case[:2]), reason="not installed"),
        ],
    )
    for case in itertools.product(MIRRORS, LAUNCHERS, ENDS)
]


def in_its_own_group() -> None:
    """As a command of a terminal: a group of its own to which Ctrl-C goes, not ignored as in a fork server's child."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)


def rows_of_csv(path: Path) -> int:
    with open(path / "metrics.csv", newline="") as file:
        return len(list(csv.DictReader(file)))


def rows_of_tensorboard(path: Path) -> int:
    """A training row has one `batch_loss`, a row of an evaluation one `loss` of the training set."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(path / "tensorboard"), size_guidance={"scalars": 0}).Reload()
    scalars = set(found.Tags()["scalars"])
    return sum(len(found.Scalars(tag)) for tag in ("train/batch_loss", "train/loss") if tag in scalars)


def rows_of_wandb(path: Path) -> int:
    """By wandb's own reader of its files."""
    run_id = json.loads((path / "run.json").read_text())["id"]
    known = remote_state.offline("runs/.wandb", run_id)[run_id]
    assert known.finished and known.repeated == 0
    return known.rows


COUNTED: dict[str, Callable[[Path], int]] = {
    "csv": rows_of_csv,
    "tensorboard": rows_of_tensorboard,
    "wandb": rows_of_wandb,
}


@pytest.fixture
def offline(workplace, monkeypatch, tmp_path):
    """No server, no key and no home but the test's; ray starts its processes afresh."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    yield workplace
    wandb_process.close()


@pytest.mark.parametrize("mirror, launcher, end", CASES)
def test_a_copy_has_every_row_when_the_sweep_has_ended(offline, plugins, monkeypatch, mirror, launcher, end):
    site = plugins("breaking", {"breaking.py": BREAKS}, {"breaks": "breaking:Breaks"})
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(site), os.environ.get("PYTHONPATH")])))
    words, number, code = ENDS[end]
    started = process(
        *["run", "-m", *SETTINGS, *words, *MIRRORS[mirror], *LAUNCHERS[launcher], "progress=false"],
        folder=offline,
        prepare=in_its_own_group,
    )
    if number:
        while not any(file.read_bytes().count(b"\n") > 5 for file in offline.glob("runs/*/*/metrics.jsonl")):
            assert started.is_alive(), output(offline)
            time.sleep(0.01)
        (os.killpg if number == signal.SIGINT else os.kill)(started.pid, number)  # a terminal signals the whole group
    assert finish(started, 120) == code, output(offline)
    records = [path for path in directories() if (path / "metrics.jsonl").exists()]
    assert {str(path): COUNTED[mirror](path) for path in records} == {str(path): len(rows(path)) for path in records}
    assert len(records) == 3 or end not in ("done", "failed")
    assert any(len(rows(path)) > 3 for path in records) and "incomplete" not in output(offline)


# What is incomplete is said


def test_the_last_line_says_what_is_incomplete_and_how_to_complete_it(offline, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    words = ["run", "-m", *SETTINGS, SHORT, "seed=0,1,2", "logger=wandb", "logger.timeout=1"]
    with socket.create_server(("127.0.0.1", 0)) as server:  # the kernel accepts; nobody reads
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{server.getsockname()[1]}")
        done = command(*words)
    line = "wandb: 3 of 3 runs incomplete there; to complete: sobench wandb sync"
    assert done.code == 0 and done.out.splitlines()[-2:] == ["3 runs: 3 done", line]
    assert [summary(path)["status"] for path in directories()] == ["done"] * 3
    with Server() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        assert command(*line.split("sobench ")[1].split()).code == 0
        assert sorted(len(run["history"]) for run in server.runs.values()) == [len(rows(p)) for p in directories()]


@pytest.mark.slow
@pytest.mark.skipif(not needed("wandb", "joblib"), reason="not installed")
def test_a_server_has_every_row_when_the_sweep_has_ended(offline, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    words = ["run", "-m", *SETTINGS, SHORT, "seed=0,1,2", "logger=wandb", *LAUNCHERS["joblib"]]
    with Server() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        assert finish(process(*words, folder=offline)) == 0 and "incomplete" not in output(offline)
        assert [len(run["history"]) for run in server.runs.values()] == [len(rows(path)) for path in directories()]
        assert all(run["complete"] for run in server.runs.values()) and len(server.runs) == 3


@pytest.mark.slow
@pytest.mark.skipif(not needed("wandb", "joblib"), reason="not installed")
def test_a_mirror_process_outlives_a_launcher_that_kills_its_workers(offline):
    from joblib.externals.loky.backend.utils import kill_process_tree

    started = process("run", *SETTINGS, LONG, *MIRRORS["wandb"], "progress=false", folder=offline)
    while not list(offline.glob("runs/.wandb/wandb/*/*.wandb")):
        assert started.is_alive(), output(offline)
        time.sleep(0.01)
    kill_process_tree(started)  # as joblib does when one of its workers dies
    receipts.wait(offline / "runs/.wandb", [path.stem for path in offline.glob("runs/.wandb/receipts/*")], 60, bool)
    (path,) = directories()
    assert COUNTED["wandb"](path) == len((path / "metrics.jsonl").read_bytes().splitlines()) > 0


def test_a_sweep_waits_for_a_mirror_that_lives_and_for_no_other(tmp_path):
    import fcntl

    dead, living = tmp_path / "dead", tmp_path / "living"
    dead.touch()
    receipts.issue(tmp_path, "left", dead)
    begun = time.monotonic()
    receipts.wait(tmp_path, ["left", "never"], 10, lambda: False)
    assert time.monotonic() - begun < 1 and receipts.rows(tmp_path, "left") == 0
    with open(living, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        receipts.issue(tmp_path, "held", living)
        begun = time.monotonic()
        receipts.wait(tmp_path, ["left", "held"], 0.3, lambda: False)
        assert 0.3 <= time.monotonic() - begun < 2
        receipts.wait(tmp_path, ["held"], 10, lambda: True)  # a signal ends it
        assert time.monotonic() - begun < 3
    receipts.settle(tmp_path, "held", 7)
    assert receipts.rows(tmp_path, "held") == 7
