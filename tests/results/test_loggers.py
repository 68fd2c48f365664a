"""Mirrors of a run's record: what they hold, that they hold it once, and that no failure of theirs is the run's."""

import csv
import importlib.util
import json
import math
import os
import shutil
import socket
import sys
import time
from pathlib import Path

import pytest
from harness import SMALL, DieIn, command, directories, directory, finish, process, rows, run_with, summary
from wandb_server import Server

from sobench.config.files import conf_dir
from sobench.errors import UsageError
from sobench.results.loggers import base
from sobench.results.loggers.csv_file import CsvFile
from sobench.results.loggers.wandb import process as wandb_process
from sobench.results.loggers.wandb import remote_state
from sobench.results.rundir import RunDirectory
from sobench.system import stopping

OFFLINE = ("logger=wandb", "logger.mode=offline")
KEY = "markedkey0" * 4


@pytest.fixture(autouse=True)
def alone(monkeypatch, tmp_path):
    """No server, no key and no home but the test's."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    yield
    wandb_process.close()


def mirrored(path, root=None) -> dict[str, list]:
    """{type: records} of all files that wandb wrote offline of the run in `path`."""
    run_id = json.loads((path / "run.json").read_text())["id"]
    found: dict[str, list] = {}
    for file in remote_state.offline_files(".wandb" if root is None else root, run_id):
        for record in remote_state.records(file):
            found.setdefault(record["type"], []).append(record[record["type"]])
    return found


def leaks(folder) -> set[str]:
    """The names of all files that were written, none of which has a secret in it; the home is beside the folder."""
    files = [path for path in folder.parent.rglob("*") if path.is_file()]
    assert [
        path for path in files if any(secret in path.read_bytes() for secret in (KEY.encode(), b"hunter2-hunter2"))
    ] == []
    return {path.name for path in files}


def warnings(capfd) -> list[str]:
    wandb_process.close()
    return [line for line in capfd.readouterr().err.splitlines() if line.strip()]


# wandb, offline: read back by wandb's own reader


def test_offline_holds_every_metric_the_config_and_the_summary(workplace, capfd):
    words = ["experiment=demo/digits", "optimizer=damped_newton", "seed=0", "budget=smoke", "log.every=1", *OFFLINE]
    assert command("run", *words).code == 0 and warnings(capfd) == []
    path, found = directory(), mirrored(directory(), "runs/.wandb")
    (about,) = found["run"]
    own = json.loads((path / "run.json").read_text())
    assert (about["run_id"], about["run_group"]) == (own["id"], f"digits mlp damped_newton {own['cell'][:6]}")
    assert about["tags"] == ["demo", "demo/digits"] and about["job_type"] == "train"
    assert about["display_name"] == "digits mlp damped_newton seed 0"
    config = about["config"]["update"]
    assert config["optimizer"] == {**own["config"]["optimizer"], "lr": 1} and config["seed"] == 0
    assert config["environment"]["torch"] and config["experiment"] == "demo/digits"
    expected = [base.named(row) for row in rows(path)]
    assert [item["step"].get("num", 0) for item in found["history"]] == list(range(len(expected)))
    assert [{k: v for k, v in item["item"].items() if k[0] != "_"} for item in found["history"]] == expected
    written = {key for row in expected for key in row}
    assert {"test/accuracy", "train/loss", "train/batch_loss", "epoch", "cost/work", "cost/seconds"} <= written
    assert {key.partition("/")[0] for key in written} == {"step", "epoch", "train", "test", "cost", "diagnostics"}
    last = {}
    for record in found["summary"]:
        last |= record["update"]
    assert last["final"] == summary(path)["final"] and (last["status"], last["steps"]) == ("done", 2)
    axes = {metric["name"] for metric in found["metric"] if "name" in metric}
    assert axes == {"step", "epoch", "cost/work", "cost/seconds"}


def test_names_tags_notes_and_project_of_a_sweep(workplace, capfd, monkeypatch):
    monkeypatch.setenv("WANDB_PROJECT", "mine")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_TAGS", "first, second")
    words = [*SMALL, "optimizer.lr=0.1,0.2", "logger=wandb", "logger.notes='a try'"]
    assert command("run", "-m", *words).code == 0 and warnings(capfd) == []
    found = [mirrored(path, "runs/.wandb")["run"][0] for path in directories()]
    assert {run["display_name"] for run in found} == {f"digits mlp sgd lr={lr} seed 0" for lr in (0.1, 0.2)}
    assert len({run["run_group"] for run in found}) == 2
    assert all((run["tags"], run["notes"], run["project"]) == (["first", "second"], "a try", "mine") for run in found)
    wrong = command("run", *SMALL, "logger=wandb", "logger.tags=3")
    assert (wrong.code, wrong.errors) == (2, ["sobench: logger.tags: got 3, allowed: words, as [a, b], or null"])


def test_a_run_that_was_killed_goes_on_without_repeating_rows(workplace, capfd):
    words = ["run", *SMALL, "budget.steps=20", "log.every=1", "checkpoint.seconds=0", *OFFLINE]
    killed = process(*words, folder=workplace, prepare=DieIn("sobench.training.checkpoint", "save", 12))
    assert finish(killed) == -9
    assert command(*words).code == 0 and warnings(capfd) == []
    while list(Path("runs/.wandb/locks").glob(f"*-{killed.pid}-*")):  # the killed run's mirror process, first or last
        time.sleep(0.1)
    found = mirrored(directory(), "runs/.wandb")
    assert [item["step"].get("num", 0) for item in found["history"]] == list(range(len(rows(directory()))))
    positions = [(item["item"]["step"], "train/batch_loss" in item["item"]) for item in found["history"]]
    assert positions == [(row["step"], row["kind"] == "train") for row in rows(directory())]
    assert len(found["run"]) == 2 and command("status").out.count("done 1") == 1


@pytest.mark.parametrize("damage", [bytes(4096), b"no file of wandb", b""], ids=["zeros", "text", "empty"])
def test_a_damaged_file_of_wandb_holds_nothing_and_the_others_are_read(tmp_path, damage):
    pytest.importorskip("wandb")
    for run_id in ("a", "b"):
        folder = tmp_path / f"wandb/offline-run-1-{run_id}"
        folder.mkdir(parents=True)
        (folder / f"run-{run_id}.wandb").write_bytes(damage)
    known = remote_state.offline(tmp_path)
    assert {run_id: (one.rows, one.finished) for run_id, one in known.items()} == {"a": (0, False), "b": (0, False)}


def test_verify_finds_what_is_missing_and_what_is_there_twice(workplace, capfd):
    command("run", "-m", *SMALL, "seed=0,1")
    verify = lambda: (command("wandb", "verify", "logger.mode=offline").code, capfd.readouterr().out.splitlines())
    one, other = directories()
    assert verify() == (1, [f"{one}: missing", f"{other}: missing", "2 runs: 2 faults"])
    assert command("wandb", "sync", "logger.mode=offline").code == 0
    assert capfd.readouterr().out.splitlines() == [f"mirrored {one}: 3 rows", f"mirrored {other}: 3 rows", "2 mirrored"]
    assert verify() == (0, ["2 runs: all mirrored once"])
    (file,) = remote_state.offline_files("runs/.wandb", json.loads((one / "run.json").read_text())["id"])
    shutil.copytree(file.parent, file.parent.with_name(file.parent.name + "-1"))
    assert verify() == (1, [f"{one}: 3 rows are there twice", "2 runs: 1 fault"])
    shutil.rmtree(file.parent.with_name(file.parent.name + "-1"))
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    code, (line, _) = verify()
    assert code == 1 and line.startswith(f"{one}: ") and ("of 3 rows" in line or line.endswith("not finished"))


# wandb, online: against a server of its protocol


@pytest.fixture
def server(monkeypatch):
    with Server() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        yield server


@pytest.mark.slow
def test_online_goes_on_with_the_row_that_the_server_does_not_have(workplace, capfd, server):
    words = ["run", *SMALL, "budget.steps=20", "log.every=1", "checkpoint.seconds=0", "logger=wandb"]
    killed = process(*words, folder=workplace, prepare=DieIn("sobench.training.checkpoint", "save", 12))
    assert finish(killed) == -9
    assert command(*words).code == 0 and warnings(capfd) == []
    ((name, run),) = server.runs.items()
    own = json.loads((directory() / "run.json").read_text())
    assert (name, run["groupName"], run["jobType"]) == (own["id"], own["cell"], "train")
    assert [row["_step"] for row in run["history"]] == list(range(len(rows(directory()))))
    assert command("wandb", "verify").code == 0 and capfd.readouterr().out == "1 runs: all mirrored once\n"
    server.runs["other"] = run
    assert command("wandb", "verify").code == 1 and "2 runs of wandb are this one" in capfd.readouterr().out
    del server.runs["other"], run["history"][-5:]
    assert command("wandb", "verify").code == 1 and f"{len(rows(directory())) - 5} of" in capfd.readouterr().out
    assert command("wandb", "sync").code == 0 and capfd.readouterr().out.endswith("5 rows\n1 mirrored\n")
    assert command("wandb", "verify").code == 0


@pytest.mark.slow
def test_a_server_that_falls_silent_in_a_run(workplace, capfd, server):
    server.mute.set()
    broken(capfd, seconds=2)


# wandb, online: whatever happens to it, the run is done and one line says so


def broken(capfd, seconds: float = 1) -> str:
    """The one warning of a run that is done."""
    done = command("run", *SMALL, "logger=wandb", f"logger.timeout={seconds}")
    assert done.code == 0 and summary(directory())["status"] == "done"
    (line,) = warnings(capfd)
    assert line.startswith("sobench: warning: logger: wandb") and "sobench wandb sync" in line
    assert KEY not in line
    return line


def test_no_key(workplace, capfd):
    assert "No API key" in broken(capfd)


def test_an_unreachable_server(workplace, capfd, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    assert "CommError" in broken(capfd)
    assert "debug-internal.log" in leaks(workplace)


def test_a_server_that_accepts_and_never_answers(workplace, capfd, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    with socket.create_server(("127.0.0.1", 0)) as server:  # the kernel accepts; nobody reads
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{server.getsockname()[1]}")
        broken(capfd)
        assert command("wandb", "verify", "logger.timeout=1").code == 1
    (line,) = warnings(capfd)
    assert line.startswith("sobench: wandb: ")


def test_a_package_that_is_broken(workplace, capfd, monkeypatch, tmp_path):
    (tmp_path / "wandb.py").write_text("import sys\nsys.exit('no')\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *sys.path]))
    assert "SystemExit: no" in broken(capfd)


def test_a_process_that_hangs_is_not_waited_for(tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(wandb_process, "MARGIN", 0.1)
    asleep = {"args": [sys.executable, "-c", "import time; time.sleep(60)"], "stdin": -1, "start_new_session": True}
    monkeypatch.setattr(wandb_process, "command", lambda *_: asleep)
    hanging = wandb_process.Process({"timeout": 0.1}, tmp_path)
    with pytest.raises(BlockingIOError):  # it reads nothing: neither does a row wait for it
        for _ in range(10_000):
            hanging.add({"directory": "x" * 100, "id": "1"})
    hanging.close()
    assert "had not mirrored every run" in capfd.readouterr().err


def test_not_installed(workplace, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for name in ("wandb", "tensorboard"):
        done = command("run", *SMALL, f"logger={name}")
        line = f"sobench: logger: {name} needs a package that is not installed: pip install {name}"
        assert (done.code, done.errors) == (2, [line])
    assert not (workplace / "runs").exists()


def test_secrets_are_written_nowhere(workplace, capfd, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("DATABASE_PASSWORD", "hunter2-hunter2")
    words = ["demo/digits", "optimizer=sgd", "seed=0", "budget=smoke"]
    assert command("reproduce", *words, *OFFLINE).code == 0
    assert command("wandb", "sync", *words, "logger.mode=offline").code == 0
    assert "mirrored reports/demo/digits/smoke,optimizer=sgd,seed=0: its files" in capfd.readouterr().out
    done = command("run", *SMALL, *OFFLINE, "logger.project=${oc.env:WANDB_API_KEY}")
    assert done.code == 2 and "logger.project: got ${oc.env:WANDB_API_KEY}; allowed:" in done.err
    done = command("run", *SMALL, *OFFLINE, f"logger.project={KEY}")
    assert done.code == 2 and "logger.project: has the value of the environment variable WANDB_API_KEY" in done.err
    assert {"provenance.json", "environment.json", "config.yaml", "debug.log", "debug-internal.log"} <= leaks(workplace)
    artifacts = [
        record["artifact"]
        for file in remote_state.offline_files("runs/.wandb")
        for record in remote_state.records(file)
        if record["type"] == "artifact"
    ]
    assert [
        {"table.csv", "figure.png", "report.md"} <= {entry["path"] for entry in found["manifest"]["contents"]}
        for found in artifacts
    ] == [True]


# Any logger


class Failing(base.Logger):
    def __init__(self, directory, when):
        super().__init__(directory)
        setattr(self, when, self._fail)

    def _fail(self, *_):
        raise OSError(f"no space left\non {KEY}")


@pytest.mark.parametrize("when", ["start", "row", "flush", "finish"])
def test_a_logger_that_raises_ends_in_one_warning(tmp_path, capsys, monkeypatch, when):
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    directory = RunDirectory(run_with(), tmp_path)
    directory.path.mkdir(parents=True)
    record = base.MirroredMetrics(directory, 0, {"failing": lambda: Failing(directory, when)})
    for step in range(3):
        record.append({"kind": "train", "step": step})
    record.sync()
    record.close()
    record.finish({"status": "done"})
    assert [row["step"] for row in rows(directory.path)] == [0, 1, 2]
    (line,) = capsys.readouterr().err.splitlines()
    assert "OSError: no space left on ***" in line and str(directory.path) in line


@pytest.mark.parametrize("when", ["row", "flush"])
def test_the_time_limit_of_the_run_is_no_failure_of_the_logger(tmp_path, monkeypatch, when):
    """The alarm may ring while the logger works: the run ends, and the logger is not to blame."""

    def ring(*_):
        raise stopping.TimedOut("longer than timeout=1 s")

    monkeypatch.setattr(Failing, "_fail", ring)
    directory = RunDirectory(run_with(), tmp_path)
    directory.path.mkdir(parents=True)
    record = base.MirroredMetrics(directory, 0, {"failing": lambda: Failing(directory, when)})
    with pytest.raises(stopping.TimedOut):
        record.append({"kind": "train", "step": 0})
        record.sync()
    record.close()


def written(root, logger: str, *batches: list[dict], keep: int | None = None) -> RunDirectory:
    """A record of several lives of one run, each begun after `keep` rows of what was there."""
    directory = RunDirectory(run_with(logger={"name": logger}), root)
    directory.path.mkdir(parents=True)
    directory.describe({})
    offset = 0
    for batch in batches:
        from sobench.results.loggers.base import open_metrics

        record = open_metrics(directory, offset)
        for row in batch:
            record.append(row)
        record.sync()
        record.close()
        if batch is batches[-1]:
            record.finish({"status": "done", "reason": None, "steps": 9})
        offset = sum(len(line) for line in directory.metrics.read_bytes().splitlines(keepends=True)[:keep])
    return directory


ROWS = [
    {"kind": "eval", "step": 0, "epoch": 0.0, "train_loss": 2.0},
    {"kind": "train", "step": 1, "epoch": 0.5, "loss": math.nan},
    {"kind": "train", "step": 2, "epoch": 1.0, "loss": 1.0, "damping": 0.5},
    {"kind": "eval", "step": 2, "epoch": 1.0, "train_loss": 1.0},
]


def test_several_loggers_copy_the_same_rows(workplace, capfd):
    assert command("run", *SMALL, "logger=[csv,tensorboard,none]").code == 0 and warnings(capfd) == []
    (path,) = directories()
    with open(path / "metrics.csv", newline="") as file:
        assert [int(line["step"]) for line in csv.DictReader(file)] == [row["step"] for row in rows(path)]
    assert list((path / "tensorboard").glob("events*"))
    again = command("run", *SMALL, "logger=[csv,wandb]", "logger.mode=offline")
    assert "already done" in again.out, "the loggers are no part of a run's identity"


def test_a_logger_that_fails_does_not_stop_the_other(tmp_path, capsys):
    directory = RunDirectory(run_with(), tmp_path)
    directory.path.mkdir(parents=True)
    make = {"failing": lambda: Failing(directory, "row"), "csv": lambda: CsvFile(directory)}
    record = base.MirroredMetrics(directory, 0, make)
    for step in range(3):
        record.append({"kind": "train", "step": step})
    record.sync()
    record.close()
    (line,) = capsys.readouterr().err.splitlines()
    assert "logger: failing failed (OSError" in line
    assert len((directory.path / "metrics.csv").read_text().splitlines()) == 1 + 3


def test_csv_is_the_record_as_a_table(tmp_path):
    again = [{**ROWS[2], "new": 7}, ROWS[3]]
    path = written(tmp_path, "csv", ROWS, again, keep=2).path
    with open(path / "metrics.csv", newline="") as file:
        table = list(csv.DictReader(file))
    assert [{k: v for k, v in line.items() if v} for line in table] == [
        {k: str(v) for k, v in row.items()} for row in rows(path)
    ]
    assert len(table) == 4 and table[2]["new"] == "7"


def test_tensorboard_shows_the_record(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    path = written(tmp_path, "tensorboard", ROWS, ROWS[2:], keep=2).path
    found = EventAccumulator(str(path / "tensorboard")).Reload()
    series = {tag: [(event.step, event.value) for event in found.Scalars(tag)] for tag in found.Tags()["scalars"]}
    assert series["train/loss"] == [(0, 2.0), (2, 1.0)] and series["diagnostics/damping"] == [(2, 0.5)]
    assert [step for step, _ in series["train/batch_loss"]] == [1, 2]
    assert series["epoch"] == [(0, 0.0), (1, 0.5), (2, 1.0)]
    assert "config/text_summary" in found.Tags()["tensors"]


# The dashboard


def test_a_dashboard_is_made_of_the_reports():
    spec = importlib.util.spec_from_file_location(
        "wandb_workspace", conf_dir().parent / "scripts" / "wandb_workspace.py"
    )
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    made = script.definition("demo/digits")
    (digits,) = made["sections"]
    assert (made["tag"], made["group_by"]) == ("demo/digits", "cell")
    by_work = {"title": "Training loss by work", "x": "cost/work", "y": "train/loss", "log_x": True, "log_y": True}
    assert by_work in digits["curves"]
    assert {"title": "Time (s)", "metric": "cost/seconds"} in digits["bars"]
    (contours,) = script.definition("kbfgs20/fig-2.3")["sections"]
    assert contours["bars"] and not contours["curves"]
    with pytest.raises(UsageError, match="did you mean 'demo/digits'"):
        script.definition("demo/digit")
