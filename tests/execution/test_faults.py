"""A run that is killed at any moment, or damaged, and repeated, gives the bits of an undisturbed run."""

import hashlib
import io
import os
import pickle
import random
import shutil
import time
from contextlib import suppress
from functools import cache
from pathlib import Path

import pytest
import torch
from harness import DieIn, command, directory, finish, output, process, result, run_with, summary

from sobench.results import rundir
from sobench.results.rundir import RunDirectory
from sobench.results.state import state
from sobench.training import checkpoint, snapshot
from sobench.training.trainer import Trainer

STEPS = 30
COMMON = ("threads=1", f"budget.steps={STEPS}", "budget.epochs=null", "log.every=1", "checkpoint.seconds=0")
METHODS = {
    "sgd": ("optimizer=sgd", "optimizer.momentum=0.9"),
    "adam": ("optimizer=adam",),
    "rmsprop": ("optimizer=rmsprop", "optimizer.momentum=0.5", "optimizer.centered=true"),
    "adagrad": ("optimizer=adagrad",),
    "lbfgs": ("optimizer=lbfgs", "optimizer.max_iter=3", "optimizer.lr=0.1"),
    "hf_gauss_newton": ("optimizer=hf_gauss_newton", "optimizer.cg_iterations=5"),
    "hf_newton": ("optimizer=hf_newton", "optimizer.cg_iterations=5"),
    "damped_newton": ("optimizer=damped_newton", "batch_size=300"),
    "cosine": ("optimizer=sgd", "schedule=cosine", "schedule.epochs=9", "batch_size=300"),
    "step": ("optimizer=adam", "schedule=step", "schedule.period=1", "schedule.gamma=0.5", "batch_size=300"),
    "float64": ("optimizer=hf_gauss_newton", "dtype=float64", "optimizer.cg_iterations=3"),
}


def words(method: str) -> list[str]:
    return ["run", *COMMON, "model.widths=[4]", *METHODS[method]]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """undisturbed(method): the record of an undisturbed run."""

    @cache
    def record(method: str) -> str:
        folder = tmp_path_factory.mktemp("undisturbed")
        assert command(*words(method), f"runs={folder}").code == 0
        return result(directory(folder))

    return record


ONE_OF_EACH_KIND = {"sgd", "lbfgs", "hf_gauss_newton", "cosine"}
"""A state of one vector, of a history and of a solver, and of a schedule."""


@pytest.mark.parametrize(
    "method", [pytest.param(m, marks=[] if m in ONE_OF_EACH_KIND else [pytest.mark.slow]) for m in METHODS]
)
def test_killed_at_random_moments(workplace, undisturbed, method):
    """Killed at a random moment of a random step, twice; then not disturbed. The usual tests have ONE_OF_EACH_KIND."""
    moment = random.Random(method)
    for _ in range(2):
        started = process(*words(method), folder=workplace)
        step = moment.randrange(2, STEPS - 4)
        while started.is_alive() and _steps_done(workplace) < step:
            time.sleep(0.001)
        time.sleep(moment.random() * 0.01)
        started.kill()
        started.join()
    ended = command(*words(method))
    assert ended.code == 0 and "resuming from step " in ended.out
    assert result(directory()) == undisturbed(method)
    assert not list(directory().glob("checkpoint*")) and not list(directory().glob(".*"))


def _steps_done(folder: Path) -> int:
    """The number of rows that a checkpoint has forced to the disk."""
    files = list(folder.glob("runs/*/*/metrics.jsonl"))
    return files[0].read_bytes().count(b"\n") if files else 0


SPOTS = {  # the place where the process kills itself
    "first evaluation": DieIn("sobench.training.problem", "Problem.evaluate", 1),
    "before the first checkpoint": DieIn("sobench.training.checkpoint", "save", 1),
    "first checkpoint being written": DieIn("sobench.training.checkpoint", "write_atomically", 1),
    "latest checkpoint moved away": DieIn("sobench.training.checkpoint", "write_atomically", 7),
    "checkpoint written": DieIn("sobench.training.checkpoint", "write_atomically", 7, after=True),
    "record forced to the disk, no checkpoint yet": DieIn("sobench.results.rundir", "Metrics.sync", 9, after=True),
    "optimizer step": DieIn("torch.optim", "SGD.step", 17),
    "evaluation in the middle": DieIn("sobench.training.problem", "Problem.evaluate", 2),
    "last evaluation": DieIn("sobench.training.problem", "Problem.evaluate", 3, after=True),
    "summary being made": DieIn("sobench.training.snapshot", "summary", 1),
    "before the summary": DieIn("sobench.results.rundir", "RunDirectory.finish", 1),
    "summary written, checkpoints not cleared": DieIn("sobench.training.checkpoint", "clear", 1),
    "description being written": DieIn("sobench.results.rundir", "RunDirectory.write", 2),
}


@pytest.mark.parametrize("spot", SPOTS)
def test_killed_at(workplace, undisturbed, spot):
    killed = process(*words("sgd"), folder=workplace, prepare=SPOTS[spot])
    assert finish(killed) == -9, output(workplace)
    again = command(*words("sgd"))
    assert again.code == 0 and not again.err
    assert result(directory()) == undisturbed("sgd")


@pytest.mark.parametrize("files", range(4))
def test_a_retry_that_is_killed_at_its_beginning_is_no_damage(tmp_path, monkeypatch, files):
    """Of a run that failed, its description is written again up to so many files."""
    run, true = RunDirectory(run_with(), tmp_path), rundir.write_atomically
    run.refuse("failed", "no room")
    written = []

    def dying(path, *args, **more):
        if len(written) == files:
            raise KeyboardInterrupt
        written.append(path)
        true(path, *args, **more)

    with run.held():
        monkeypatch.setattr(rundir, "write_atomically", dying)
        with suppress(KeyboardInterrupt):
            run.describe({"threads": 7})
    assert len(written) == min(files, 3) and run.state().status in ("missing", "interrupted")


class Half:
    """Write half of a file, the n-th time that a file of this name is written, and kill the process."""

    def __init__(self, name: str, call: int):
        self.name, self.call = name, call

    def __call__(self) -> None:
        from sobench.results import rundir
        from sobench.training import checkpoint

        true, calls = rundir.write_atomically, 0

        def write(path, data, **more):
            nonlocal calls
            calls += path.name == self.name
            if path.name == self.name and calls == self.call:
                path.with_name(f".{path.name}.{os.getpid()}").write_bytes(data[: len(data) // 2])
                os.kill(os.getpid(), 9)
            true(path, data, **more)

        checkpoint.write_atomically = rundir.write_atomically = write


@pytest.mark.parametrize(
    "name, call",
    [("checkpoint.pt", 1), ("checkpoint.pt", 12), ("summary.json", 1), ("run.json", 1), ("config.yaml", 1)],
)
def test_killed_with_half_a_file_written(workplace, undisturbed, name, call):
    assert finish(process(*words("sgd"), folder=workplace, prepare=Half(name, call))) == -9
    assert command(*words("sgd")).code == 0
    assert result(directory()) == undisturbed("sgd")
    assert not list(directory().glob(".*"))


# Damaged files


@pytest.fixture(scope="module")
def cut(tmp_path_factory) -> Path:
    """The directory of a run that was killed at step 20, with both checkpoints and rows beyond the latest."""
    folder = tmp_path_factory.mktemp("cut")
    killed = process(*words("sgd"), folder=folder, prepare=DieIn("sobench.training.checkpoint", "save", 20))
    assert finish(killed) == -9
    assert {"checkpoint.pt", "checkpoint-previous.pt"} <= {path.name for path in directory(folder / "runs").iterdir()}
    return folder / "runs"


class Foreign:
    """A pickle that makes a folder when it is loaded."""

    def __reduce__(self):
        return os.mkdir, ("executed",)


def signed(data: bytes) -> bytes:
    return data + hashlib.sha256(data).digest()


def torch_bytes(value) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def rewrite(name: str, change) -> callable:
    def damage(path: Path) -> None:
        (path / name).write_bytes(change((path / name).read_bytes()))

    return damage


def remove(*names: str) -> callable:
    return lambda path: [(path / name).unlink() for name in names]


def both(*damages) -> callable:
    return lambda path: [damage(path) for damage in damages]


LATEST, PREVIOUS, RECORD = "checkpoint.pt", "checkpoint-previous.pt", "metrics.jsonl"
OVER = "no checkpoint to resume from, starting over"
DAMAGES = {  # the damage; the message about it, and the step from which the run resumes
    "latest truncated": (rewrite(LATEST, lambda b: b[:-100]), "checkpoint.pt is damaged", 18),
    "latest empty": (rewrite(LATEST, lambda b: b""), "checkpoint.pt is damaged", 18),
    "latest garbage": (rewrite(LATEST, lambda b: os.urandom(5000)), "checkpoint.pt is damaged", 18),
    "latest with one bit changed": (
        rewrite(LATEST, lambda b: b[:1500] + bytes([b[1500] ^ 1]) + b[1501:]),
        "checkpoint.pt is damaged",
        18,
    ),
    "latest a plain pickle": (rewrite(LATEST, lambda b: pickle.dumps(Foreign())), "checkpoint.pt is damaged", 18),
    "latest a signed pickle": (
        rewrite(LATEST, lambda b: signed(pickle.dumps(Foreign()))),
        "checkpoint.pt is damaged",
        18,
    ),
    "latest a signed torch pickle": (
        rewrite(LATEST, lambda b: signed(torch_bytes({"step": Foreign()}))),
        "checkpoint.pt is damaged",
        18,
    ),
    "latest something else": (
        rewrite(LATEST, lambda b: signed(torch_bytes({"step": 3}))),
        "checkpoint.pt is damaged",
        18,
    ),
    "latest no dictionary": (rewrite(LATEST, lambda b: signed(torch_bytes([1]))), "checkpoint.pt is damaged", 18),
    "latest of another optimizer": (
        rewrite(LATEST, lambda b: signed(torch_bytes({"step": 18, "metrics_bytes": 0}))),
        "the checkpoint does not fit the present code",
        OVER,
    ),
    "latest missing": (remove(LATEST), "", 18),
    "previous missing": (remove(PREVIOUS), "", 19),
    "latest garbage, previous missing": (
        both(rewrite(LATEST, lambda b: b"x"), remove(PREVIOUS)),
        "checkpoint.pt is damaged",
        OVER,
    ),
    "both garbage": (
        both(rewrite(LATEST, lambda b: b"x"), rewrite(PREVIOUS, lambda b: b"y")),
        "checkpoint-previous.pt is damaged",
        OVER,
    ),
    "both missing": (remove(LATEST, PREVIOUS), "", OVER),
    "half a line": (rewrite(RECORD, lambda b: b + b'{"kind": "trai'), "", 19),
    "half a line, in what the latest stands on": (
        rewrite(RECORD, lambda b: b[: b.rindex(b"\n", 0, -400) + 30]),
        "",
        None,
    ),
    "garbage at the start": (
        rewrite(RECORD, lambda b: b"\xff\x00!!" + b[4:]),
        "metrics.jsonl is damaged before step 19",
        OVER,
    ),
    "garbage in the middle": (
        rewrite(RECORD, lambda b: b[:900] + b"\x00" * 9 + b[909:]),
        "metrics.jsonl is damaged",
        OVER,
    ),
    "a line gone": (rewrite(RECORD, lambda b: b.split(b"\n", 1)[1]), "metrics.jsonl is damaged before step 18", OVER),
    "another digit in a row": (
        rewrite(RECORD, lambda b: b[: b.index(b'"loss": ') + 8] + b"9" + b[b.index(b'"loss": ') + 9 :]),
        "metrics.jsonl is damaged before step 19",
        OVER,
    ),
    "record empty": (rewrite(RECORD, lambda b: b""), "metrics.jsonl is damaged before step 18", OVER),
    "record missing": (remove(RECORD), "metrics.jsonl is damaged before step 18", None),
    "run.json garbage": (rewrite("run.json", lambda b: b"\xff{"), "", 19),
    "run.json missing": (remove("run.json"), "", 19),
    "config missing": (remove("config.yaml", "environment.json"), "", 19),
    "summary garbage": (
        lambda path: (path / "summary.json").write_text('{"status": "do'),
        "summary.json is damaged",
        19,
    ),
    "summary of no known state": (
        lambda path: (path / "summary.json").write_text('{"status": "finished"}'),
        "summary.json is damaged",
        19,
    ),
    "holder garbage": (lambda path: (path / "holder.json").write_bytes(b"\xff"), "", 19),
    "lock missing": (remove("lock"), "", 19),
}


@pytest.mark.parametrize("case", DAMAGES)
def test_damage(workplace, undisturbed, cut, case):
    damage, said, goes_on = DAMAGES[case]
    shutil.copytree(cut, "runs")
    damage(directory())
    shown = command("status")
    assert shown.code == 0 and not shown.err
    again = command(*words("sgd"))
    assert again.code == 0 and not again.err
    assert not said or any(str(directory()) in line and said in line for line in again.out.splitlines())
    if goes_on == OVER:
        assert OVER in again.out
    elif goes_on:
        assert f"resuming from step {goes_on}" in again.out
    assert result(directory()) == undisturbed("sgd")
    assert not Path("executed").exists()
    assert command("status").out.count("done 1") == 1


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("done")
    assert command(*words("sgd"), f"runs={folder}").code == 0
    return folder


FINISHED = {
    "summary truncated": (rewrite("summary.json", lambda b: b[:-20]), "summary.json is damaged"),
    "summary empty": (rewrite("summary.json", lambda b: b""), "summary.json is damaged"),
    "summary a list": (rewrite("summary.json", lambda b: b"[]"), "summary.json is damaged"),
    "record cut": (rewrite(RECORD, lambda b: b[:-10]), "metrics.jsonl is not as long as it was when the run was done"),
    "record longer": (rewrite(RECORD, lambda b: b + b'{"kind": "tr'), "metrics.jsonl is not as long as it was"),
    "record missing": (remove(RECORD), "metrics.jsonl is not as long as it was"),
    "another digit": (rewrite(RECORD, lambda b: b.replace(b"0", b"1", 1)), "metrics.jsonl is not what it was"),
    "environment empty": (rewrite("environment.json", lambda b: b"{}"), "environment.json is not what it was"),
}


@pytest.mark.parametrize("case", FINISHED)
def test_damage_to_a_finished_run(workplace, undisturbed, done, case):
    damage, said = FINISHED[case]
    shutil.copytree(done, "runs")
    damage(directory())
    before = {file.name: file.read_bytes() for file in directory().iterdir()}
    again = command(*words("sgd"))
    assert again.code == 0 and not again.err
    assert any(str(directory()) in line and said in line for line in again.out.splitlines())
    (kept,) = Path("runs/.old").glob("*/seed-0/*")
    assert {file.name: file.read_bytes() for file in kept.iterdir()} == before
    assert result(directory()) == undisturbed("sgd")


@pytest.mark.parametrize("text", ["{", "[]", "", '{"id": "another"}', None])
def test_a_finished_run_that_does_not_say_what_it_is(workplace, done, text):
    shutil.copytree(done, "runs")
    file = directory() / "run.json"
    before, made = file.read_text(), (directory() / "metrics.jsonl").stat().st_mtime_ns
    file.unlink() if text is None else file.write_text(text)
    again = command("run", "-m", *words("sgd")[1:], "seed=0")
    assert again.code == 0 and "run.json could not be read and was rewritten" in again.out
    assert file.read_text() == before and (directory() / "metrics.jsonl").stat().st_mtime_ns == made


# The parts


def test_a_checkpoint_of_other_code_is_not_forced_into_it(workplace, undisturbed, cut, monkeypatch):
    shutil.copytree(cut, "runs")
    true = snapshot.restore

    def restore(trainer, saved):
        true(trainer, saved)
        raise KeyError("a buffer that was not there")

    monkeypatch.setattr(snapshot, "restore", restore)
    again = command(*words("sgd"))
    assert again.code == 0 and "does not fit the present code ('a buffer that was not there')" in again.out
    assert result(directory()) == undisturbed("sgd")


def test_a_run_that_diverges_after_it_was_resumed(workplace, tmp_path):
    """Its summary has the last evaluation, from before the checkpoint."""
    diverging = ["run", *COMMON, "model=linear", "loss=squared_error", "optimizer.lr=3", "evaluate.steps=7"]
    assert command(*diverging, f"runs={tmp_path}/whole").code == 0
    whole = summary(directory(tmp_path / "whole"))
    assert whole["status"] == "diverged" and whole["steps"] > 3 and whole["final"]
    killed = process(
        *diverging,
        folder=workplace,
        prepare=DieIn("sobench.training.checkpoint", "save", whole["steps"] - 1, after=True),
    )
    assert finish(killed) == -9
    again = command(*diverging)
    assert f"resuming from step {whole['steps'] - 1}" in again.out
    assert result(directory()) == result(directory(tmp_path / "whole"))


def test_a_failure_keeps_what_the_machine_said(workplace, tmp_path, monkeypatch):
    """If the disk is full when a checkpoint is written, the run is failed, with the reason."""

    def full(path, data, **more):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(checkpoint, "write_atomically", full)
    done = command(*words("sgd"))
    assert done.code == 1 and "No space left on device" in summary(directory())["reason"]
    monkeypatch.undo()
    monkeypatch.chdir(workplace)
    assert command(*words("sgd")).code == 0 and summary(directory())["status"] == "done"


def test_rows_that_cannot_be_written_do_not_come_after_the_result(workplace, monkeypatch):
    """A full disk keeps the last rows from the record; its length in the result is that of the file."""

    def full(self):
        raise OSError(28, "No space left on device", "metrics.jsonl")

    monkeypatch.setattr(rundir.Metrics, "sync", full)
    assert command("run", "-m", *words("sgd")[1:]).code == 1
    assert state(directory()).status == "failed"
    monkeypatch.undo()
    monkeypatch.chdir(workplace)
    assert command("run", "-m", *words("sgd")[1:]).code == 0 and not Path("runs/.old").exists()


def test_save_and_load(tmp_path):
    assert checkpoint.load(tmp_path, torch.device("cpu")) == (None, [])
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n')
    for step in (1, 2, 3):
        checkpoint.save(tmp_path, {"step": step, "metrics_bytes": 12, "x": torch.full((2,), step, dtype=torch.float64)})
    state, damage = checkpoint.load(tmp_path, torch.device("cpu"))
    assert state["step"] == 3 and state["x"].tolist() == [3, 3] and state["x"].dtype == torch.float64 and damage == []
    (tmp_path / "checkpoint.pt").unlink()
    assert checkpoint.load(tmp_path, torch.device("cpu"))[0]["step"] == 2
    checkpoint.clear(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]


@pytest.mark.parametrize("method", ["sgd", "lbfgs", "hf_gauss_newton", "cosine"])
def test_state_is_everything(method):
    """A trainer restored in this process continues with the same bits, whatever random numbers torch drew meanwhile."""
    from sobench.config.grid import expand

    (run,) = expand(words(method)[1:])

    class Record(list):
        def append(self, row):
            super().append({k: v for k, v in row.items() if "seconds" not in k})

    states, whole = {}, Record()
    trainer = Trainer(run)
    trainer.train(whole, lambda t: states.update({t.step: torch_bytes(snapshot.state(t))}), lambda *_: None)
    for step in (1, STEPS - 8, STEPS - 1):
        again, rest = Trainer(run), Record()
        snapshot.restore(again, torch.load(io.BytesIO(states[step]), weights_only=True))
        again.train(rest, lambda t: None, lambda *_: None)
        assert rest == [row for row in whole if row["step"] > step]
        assert (
            snapshot.summary(again, "done", None)["parameters_sha256"]
            == snapshot.summary(trainer, "done", None)["parameters_sha256"]
        )


def test_what_a_run_writes_is_whole_or_not_there(tmp_path, monkeypatch):
    path = tmp_path / "file"
    rundir.write_atomically(path, b"old")
    monkeypatch.setattr(rundir.os, "replace", lambda *_: (_ for _ in ()).throw(OSError("stop")))
    with pytest.raises(OSError):
        rundir.write_atomically(path, b"new, and longer")
    assert path.read_bytes() == b"old"


def test_leftovers_of_a_killed_process_are_swept_away(tmp_path):
    directory = RunDirectory(run_with(), tmp_path)
    directory.path.mkdir(parents=True)
    (directory.path / ".checkpoint.pt.1234").write_bytes(b"half")
    (directory.path / ".mine").write_bytes(b"the user's")
    with directory.held():
        pass
    assert {path.name for path in directory.path.iterdir()} == {"lock", ".mine"}
