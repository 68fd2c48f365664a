"""Errors outside the command, in files and folders: one line, exit code 1 or 2, no traceback, no file lost."""

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest
from harness import SMALL, command, directory

KEPT = "kept"
"""A folder of runs with one finished run, which every case must leave as it is."""

BROKEN = """
import torch
raise ImportError("no such thing")
"""
PLAIN = """
import torch

class Plain(torch.optim.SGD):
    def __init__(self, params, lr=0.1):
        super().__init__(params, lr=lr)

class Unset(torch.optim.SGD):
    def __init__(self, params, lr):
        super().__init__(params, lr=lr)

number = 5
"""


def everything(folder: Path = Path(KEPT)) -> dict[str, str]:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A folder of runs with one finished run."""
    folder = tmp_path_factory.mktemp("finished")
    assert command("run", *SMALL, f"runs={folder}").code == 0
    return folder


@pytest.fixture
def place(workplace, finished, plugins, monkeypatch) -> Path:
    def no_network(url, timeout):
        raise OSError("no network")

    monkeypatch.setattr("urllib.request.urlopen", no_network)
    shutil.copytree(finished, KEPT)
    plugins("broken", {"broken_one.py": BROKEN}, {"broken": "broken_one:Broken", "gone": "no_such_module:X"})
    plugins(
        "plain",
        {"plain_one.py": PLAIN},
        {"plain": "plain_one:Plain", "unset": "plain_one:Unset", "number": "plain_one:number"},
    )
    return workplace


def file_for_folder(place: Path) -> None:
    (place / "file").write_text("")


def broken_yaml(place: Path) -> None:
    (place / "mine" / "experiment").mkdir(parents=True)
    (place / "mine" / "experiment" / "broken.yaml").write_text("a: [1, 2\n")
    (place / "mine" / "experiment" / "strange.yaml").write_text("# @package _global_\nsead: 1\n")


def array(**change) -> callable:
    arrays = dict(
        x_train=np.zeros((8, 3), "f4"), y_train=np.arange(8) % 2, x_test=np.zeros((4, 3), "f4"), y_test=np.arange(4) % 2
    )
    return lambda place: np.savez(place / "a.npz", **{k: v for k, v in (arrays | change).items() if v is not None})


def damaged_archive(place: Path) -> None:
    array()(place)
    data = (place / "a.npz").read_bytes()
    (place / "a.npz").write_bytes(data[: len(data) // 2])


def foreign_mirror(place: Path) -> None:
    folder = place / "mirror" / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for name in (
        "train-images-idx3-ubyte.gz",
        "train-labels-idx1-ubyte.gz",
        "t10k-images-idx3-ubyte.gz",
        "t10k-labels-idx1-ubyte.gz",
    ):
        (folder / name).write_bytes(b"\x1f\x8b not this")


def foreign_runs(place: Path) -> None:
    """A file has the name of a run directory."""
    path = directory(place / KEPT)
    (place / "foreign" / path.parent.name).mkdir(parents=True)
    (place / "foreign" / path.parent.name / path.name).write_text("a file")


def old_jobs(place: Path) -> None:
    (place / "jobs.json").write_text("not json")


def nothing(place: Path) -> None:
    pass


NPZ = ["dataset=npz", "dataset.path=a.npz", "batch_size=4", *SMALL]
CASES = {  # name: (preparation, arguments, exit code, part of the line)
    "runs is a file": (file_for_folder, ["run", *SMALL, "runs=file"], 1, "runs: cannot write"),
    "runs in a file": (file_for_folder, ["run", *SMALL, "runs=file/deep"], 1, "runs: cannot write"),
    "runs on a device": (nothing, ["run", *SMALL, "runs=/dev/null"], 1, "runs: cannot write"),
    "runs in a sweep is a file": (
        file_for_folder,
        ["run", "-m", *SMALL, "seed=0,1", "runs=file"],
        1,
        "runs: cannot write",
    ),
    "a run directory is a file": (foreign_runs, ["run", *SMALL, "runs=foreign"], 1, "runs: cannot write"),
    "slots is a file": (file_for_folder, ["run", *SMALL, "slots=file"], 1, "slots: cannot write"),
    "reports is a file": (file_for_folder, ["report", "demo/digits", "reports=file"], 2, "none of its"),
    "mirror is a file": (file_for_folder, ["run", *SMALL, "data.mirror=file"], 2, "not a folder"),
    "mirror is not there": (nothing, ["run", *SMALL, "data.mirror=nowhere"], 2, "not a folder"),
    "cache is a file": (file_for_folder, ["run", *SMALL, "dataset=mnist", "data.cache=file"], 1, "mnist: cannot write"),
    "data of another kind": (
        foreign_mirror,
        ["run", *SMALL, "dataset=mnist", "data.mirror=mirror"],
        1,
        "train-images-idx3-ubyte.gz",
    ),
    "broken YAML": (
        broken_yaml,
        ["run", "--config-dir", "mine", "experiment=broken"],
        2,
        "broken.yaml: no YAML: line 2",
    ),
    "YAML with an unknown key": (broken_yaml, ["run", "--config-dir", "mine", "experiment=strange"], 2, "sead"),
    "a configuration folder that is not there": (nothing, ["run", "--config-dir", "nowhere", *SMALL], 2, "nowhere"),
    "no archive": (nothing, ["run", *NPZ], 2, "a.npz is not there"),
    "half an archive": (damaged_archive, ["run", *NPZ], 2, "damaged"),
    "an array that lacks": (array(y_test=None), ["run", *NPZ], 2, "y_test"),
    "labels below zero": (array(y_train=np.arange(8) % 2 - 1), ["run", *NPZ], 2, "labels are 0"),
    "numbers that are none": (array(x_train=np.full((8, 3), np.inf, "f4")), ["run", *NPZ], 2, "not finite"),
    "objects": (array(x_train=np.array([object()] * 8)), ["run", *NPZ], 2, "Python objects"),
    "no samples": (array(x_train=np.zeros((0, 3), "f4"), y_train=np.zeros(0, int)), ["run", *NPZ], 2, "y_train"),
    "a plug-in that raises": (nothing, ["run", *SMALL, "optimizer=broken"], 2, "broken"),
    "a plug-in that is gone": (nothing, ["run", *SMALL, "optimizer=gone"], 2, "no_such_module"),
    "a plug-in that is a number": (nothing, ["run", *SMALL, "optimizer=number"], 2, "number"),
    "a plug-in's own setting": (nothing, ["run", *SMALL, "optimizer=unset"], 2, "optimizer.lr: must be given"),
    "a plug-in's unknown setting": (
        nothing,
        ["run", *SMALL, "optimizer=plain", "optimizer.momentum=1"],
        2,
        "optimizer.momentum: no such key",
    ),
    "a negative budget": (nothing, ["run", *SMALL, "budget.steps=-1"], 2, "budget.steps: got -1"),
    "no time": (nothing, ["run", *SMALL, "timeout=0"], 2, "timeout: got 0"),
    "time in words": (nothing, ["run", *SMALL, "timeout=soon"], 2, "timeout: got 'soon'"),
    "more threads than cores": (nothing, ["run", "threads=100000", "model.widths=[4]"], 2, "threads: got 100000"),
    "a share of no GPU": (nothing, ["run", *SMALL, "gpu.per_run=0"], 2, "gpu.per_run: got 0"),
    "more than a GPU": (nothing, ["run", *SMALL, "gpu.per_run=2"], 2, "gpu.per_run: got 2"),
    "isolated how": (nothing, ["run", *SMALL, "isolate=maybe"], 2, "isolate: got 'maybe'"),
    "failing how": (nothing, ["run", *SMALL, "sweep.fail_fast=2"], 2, "sweep.fail_fast: got 2"),
    "an unknown key of sweep": (nothing, ["run", *SMALL, "sweep.fast=true"], 2, "sweep.fast: no such key"),
    "layers beyond all memory": (
        nothing,
        ["run", "threads=1", "budget=smoke", "model.widths=[2000000000,2000000000]"],
        1,
        "memory",
    ),
    "a batch beyond all data": (nothing, ["run", *SMALL, "batch_size=1000000000000"], 2, "at most 1437"),
    "a seed beyond all seeds": (nothing, ["run", *SMALL, "seed=9223372036854775808"], 2, "seed: got"),
    "a sweep that is no list": (nothing, ["run", "-m", *SMALL, "hydra.sweeper.cells=5"], 2, "cells"),
    "jobs that are not there": (nothing, ["run", "-m", "hydra.sweeper.jobs=nowhere.json"], 2, "nowhere.json"),
    "jobs that are none": (old_jobs, ["run", "-m", "hydra.sweeper.jobs=jobs.json"], 2, "jobs.json"),
    "a launcher that is not there": (
        nothing,
        ["run", "-m", *SMALL, "hydra/launcher=cloud"],
        2,
        "hydra/launcher: got 'cloud'",
    ),
    "a budget of no length": (nothing, ["plan", "demo/digits", "--budget", "4x"], 2, "4x"),
    "a plan of nothing": (nothing, ["plan", "no/such"], 2, "no/such"),
    "a retry of nothing": (nothing, ["retry", "no/such"], 2, "no/such"),
    "a report of another": (nothing, ["report", "demo/digit"], 2, "demo/digits"),
    "a paper's name leaves its folder": (nothing, ["report", "../../etc/passwd"], 2, "../../etc/passwd"),
    "a tuned file leaves its folder": (nothing, ["run", "-m", *SMALL, "hydra.sweeper.tuned=../../x"], 2, "tuned"),
}


@pytest.mark.parametrize("case", CASES)
def test_one_line_and_nothing_lost(place, case):
    before, words, code, says = CASES[case]
    kept = everything()
    before(place)
    result = command(*words)
    text = result.out + result.err
    lines = [line for line in text.splitlines() if says in line]
    assert result.code == code, text
    assert lines and "Traceback" not in text, text
    assert len([line for line in result.errors if not line.startswith("sobench: warning: ")]) <= 1, text
    assert everything() == kept
