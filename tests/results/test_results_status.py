import io
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time

import pytest
from filelock import FileLock
from rich.console import Console
from run_tree import a_run, evals, put

from sobench.results.fingerprint import fingerprint
from sobench.results.rundir import RunDirectory
from sobench.results.state import state
from sobench.results.status import cells, of_folder, of_runs, print_status, run_directories
from sobench.results.sweeps import Sweep, dead, live, queue
from sobench.system.heartbeat import STALE, file_system_time


def printed(runs, root) -> str:
    console = Console(file=io.StringIO(), width=160)
    for run in runs or ():
        run.config["runs"] = str(root)
    print_status(*(of_runs(runs) if runs else of_folder(root)), console)
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
    code = (
        "import sys, sobench.results.status, sobench.results.state, sobench.report as r; r.read(r.reports()[0])\n"
        "print([m for m in ('torch', 'pandas', 'numpy', 'matplotlib', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def holding(directory, host: str, age: float) -> None:
    """What a holder wrote of itself, so many seconds ago."""
    path = directory / "holder.json"
    path.write_text(json.dumps({"pid": 12, "host": host, "since": "2026-01-02T03:04:05+0000"}))
    then = file_system_time(directory) - age
    os.utime(path, (then, then))


def test_who_runs_it_since_when_and_the_age_of_the_heartbeat(tmp_path):
    directory = put(tmp_path, a_run("sgd"), evals("train_loss", 2.0), None)
    holding(directory, "elsewhere", 20)
    found = state(directory)
    assert (found.status, found.step) == ("running", 0)
    assert re.fullmatch(r"12@elsewhere since 2026-01-02T03:04:05\+0000, heartbeat 2[01] s ago", str(found.holder))
    assert "running: 12@elsewhere since" in printed(None, tmp_path)
    holding(directory, "elsewhere", STALE + 1)
    assert state(directory).status == "interrupted"


def test_on_its_own_machine_the_lock_is_the_truth(tmp_path):
    directory = put(tmp_path, a_run("sgd"), evals("train_loss", 2.0), None)
    holding(directory, socket.gethostname(), 1)
    assert state(directory).status == "interrupted"  # killed a second ago
    with FileLock(directory / "lock"):
        holding(directory, socket.gethostname(), 1000)
        assert state(directory).status == "running"  # alive, whatever the clock says


@pytest.mark.parametrize("text", ["", "[]", '{"pid": 1}', '{"pid": "x", "host": "h", "since": "s"}'])
def test_a_holder_that_cannot_be_read_is_none(tmp_path, text):
    directory = put(tmp_path, a_run("sgd"), evals("train_loss", 2.0), None)
    (directory / "holder.json").write_text(text)
    assert state(directory).status == "interrupted"


def test_what_a_living_sweep_names_is_queued_until_it_begins(tmp_path):
    runs = [a_run("sgd", seed) for seed in range(3)]
    put(tmp_path, runs[0], evals("train_loss", 2.0))
    put(tmp_path, runs[1], evals("train_loss", 2.0), "failed", "it broke")
    with Sweep(tmp_path, runs) as sweep:
        assert json.loads(sweep.path.read_text())["runs"] == [[run.id, run.slug] for run in runs]
        (found,) = cells(run_directories(tmp_path, queue(tmp_path)), queue(tmp_path))
        assert found.counts == {"done": 1, "failed": 1, "queued": 1}
        assert found.states[2].holder.pid == os.getpid()
        assert "queued 1" in printed(None, tmp_path) and "3 runs: 1 done, 1 failed, 1 queued" in printed(runs, tmp_path)
    assert not queue(tmp_path) and not list((tmp_path / ".sweeps").iterdir())
    assert "1 cell, 2 runs: 1 done, 1 failed" in printed(None, tmp_path)


def test_a_sweep_that_was_cut_off_queues_nothing(tmp_path):
    with Sweep(tmp_path, [a_run("sgd")]) as sweep:
        text = json.loads(sweep.path.read_text())
    folder = tmp_path / ".sweeps"
    (folder / "here.json").write_text(json.dumps(text))  # its lock is free
    (folder / "there.json").write_text(json.dumps(text | {"host": "elsewhere"}))
    (folder / "strange.json").write_text("{")
    assert [found.path.name for found in live(tmp_path)] == ["there.json"]
    then = file_system_time(folder) - STALE - 1
    os.utime(folder / "there.json", (then, then))
    assert not live(tmp_path) and len(dead(tmp_path)) == 3


def test_every_file_of_a_sweep_that_was_killed_is_found(tmp_path):
    with Sweep(tmp_path, [a_run("sgd")]) as living:
        folder = living.path.parent
        (folder / ".0a.json.77").write_text("{")  # killed while it wrote the first of its files
        names = ["0b.json", "0b.lock", "0b.stop", ".0b.json.78", "0c.stop", ".0a.json.77"]
        for name in names:
            (folder / name).touch()
        living.path.with_suffix(".stop").touch()
        assert {path.name for path in dead(tmp_path)} == {*names[:4]}
        then = file_system_time(folder) - STALE - 1
        for name in names:
            os.utime(folder / name, (then, then))
        assert {path.name for path in dead(tmp_path)} == {*names}


def test_a_sweep_beats(tmp_path, monkeypatch):
    monkeypatch.setattr("sobench.system.heartbeat.HEARTBEAT", 0.01)
    with Sweep(tmp_path, [a_run("sgd")]) as sweep:
        os.utime(sweep.path, (0, 0))
        for _ in range(1000):
            if sweep.path.stat().st_mtime > 0:
                break
            time.sleep(0.01)
        assert sweep.path.stat().st_mtime > 0


def test_a_run_that_ends_while_one_looks_is_never_called_interrupted(tmp_path):
    runs = [a_run("sgd", seed) for seed in range(40)]
    seen = {run.id: set() for run in runs}
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            for run in runs:
                seen[run.id].add(state(run.directory(tmp_path)).status)

    thread = threading.Thread(target=look)
    thread.start()
    for run in runs:
        with RunDirectory(run, tmp_path).held():
            (run.directory(tmp_path) / "metrics.jsonl").write_text(json.dumps(evals("train_loss", 2.0)[0]) + "\n")
            RunDirectory(run, tmp_path).finish({"status": "done", "steps": 0})
    over.set()
    thread.join()
    assert set().union(*seen.values()) <= {"missing", "running", "done"}
    assert all(state(run.directory(tmp_path)).status == "done" for run in runs)


def test_the_log_of_a_failure_is_named(tmp_path):
    runs = [a_run("sgd", seed) for seed in range(3)]
    for run, status in zip(runs, ("failed", "failed", "out-of-memory")):
        (put(tmp_path, run, evals("train_loss", 2.0), status, "it broke") / "error.txt").write_text("Traceback")
    lines = printed(runs, tmp_path).splitlines()
    assert [line for line in lines if line.startswith("log: ")] == [f"log: {runs[0].directory(tmp_path)}/error.txt"]
    assert lines[-1] == "1 cell, 3 runs: 1 out-of-memory, 2 failed"


def test_stale_results_are_flagged_and_counted(tmp_path):
    runs = [a_run("sgd", seed, dataset="digits") for seed in range(4)]
    now = fingerprint(runs[0].config)
    others = (now, now | {"method": "another"}, now | {"data": "another", "method": "older"}, now | {"data": None})
    for run, then in zip(runs, others):
        directory = put(tmp_path, run, evals("train_loss", 2.0))
        (directory / "environment.json").write_text(json.dumps({"fingerprint": then}))
    text = printed(None, tmp_path)
    assert "done 4, stale 2" in text
    assert "done: stale, older code of its method (seed 1)" in text
    assert "done: stale, older code of its method and other data (seed 2)" in text
    assert text.splitlines()[-1] == "1 cell, 4 runs: 4 done; 2 of them stale"


def test_results_of_an_earlier_scheme_are_counted_and_not_stale(tmp_path):
    runs = [a_run("sgd", seed, dataset="digits") for seed in range(4)]
    now = fingerprint(runs[0].config)
    first = {"method": "of scheme 1", "data": now["data"]}
    for run, then in zip(runs, (now, first, first | {"data": "another"}, now | {"method": "of scheme 3", "scheme": 3})):
        directory = put(tmp_path, run, evals("train_loss", 2.0))
        (directory / "environment.json").write_text(json.dumps({"fingerprint": then}))
    *_, stale, earlier, summary = printed(None, tmp_path).splitlines()
    assert stale.strip() == "done: stale, other data (seed 2)"
    assert earlier == "2 results were made before fingerprints of scheme 2: not compared with the code of now"
    assert summary == "1 cell, 4 runs: 4 done; 1 of them stale"


def test_a_run_that_is_older_than_fingerprints_is_not_stale(tmp_path):
    put(tmp_path, a_run("sgd"), evals("train_loss", 2.0))
    put(tmp_path, a_run("an_optimizer_that_is_gone"), evals("train_loss", 2.0))
    assert "stale" not in printed(None, tmp_path)
