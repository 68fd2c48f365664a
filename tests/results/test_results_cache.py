"""The cache never changes a result: load() with it equals load() without it, whatever happened to the runs."""

import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from run_tree import a_run, evals, put, row

from sobench.results import cache, collect, load, packing, reading
from sobench.results.record import AXES, IDENTITY
from sobench.system import files

RUNS = [a_run(optimizer, seed) for optimizer in ("sgd", "adam", "newton") for seed in (0, 1)]
NEWEST = (
    "from sobench.results import cache, load, reading; from sobench.system import files; "
    "reading.WORTH, files.SETTLED = 0, -10.0; import sys; "
)


@pytest.fixture(autouse=True, scope="module")
def everything_is_kept():
    """However small and however new it is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "WORTH", 0)
        patch.setattr(files, "SETTLED", -10.0)
        yield


@pytest.fixture
def reads(monkeypatch) -> list[str]:
    """The names of the run directories that are read, and not taken from the cache."""
    names: list[str] = []
    read = reading.read
    monkeypatch.setattr(reading, "read", lambda directory: names.append(directory.split("_")[-2]) or read(directory))
    return names


def tree(root: Path) -> Path:
    for run in RUNS:
        train = [row("train", 10, loss=1.5, outcome="indefinite"), row("train", 20, loss=math.inf)]
        put(
            root,
            run,
            [*train, *evals("train_loss", 2.0, math.nan)],
            "diverged" if run.seed else "done",
            "loss is NaN" if run.seed else None,
            parameters=12,
        )
    return root


def check(root: Path) -> pd.DataFrame:
    """That load gives what it gives of a copy without a cache, before and after it is written; the frame."""
    bare = root.with_name("bare")
    shutil.rmtree(bare, ignore_errors=True)
    shutil.copytree(root, bare, ignore=shutil.ignore_patterns(".cache"))
    fresh = load(bare)
    for _ in range(2):
        pd.testing.assert_frame_equal(load(root), fresh, check_exact=True)
    return fresh


def test_what_was_kept_is_not_read_again(tmp_path, reads):
    fresh = check(tree(tmp_path / "runs"))
    del reads[:]
    found = collect([*RUNS, a_run("kfac")], tmp_path / "runs")
    assert reads == ["kfac"]  # whether it was made by now
    assert set(found.frame["outcome"].dropna()) == {"indefinite"} and len(found.frame) == len(fresh)
    assert found.states[RUNS[1].id].reason == "loss is NaN" and found.states[RUNS[0].id].summary["parameters"] == 12
    assert found.environments[RUNS[0].id] == {"torch": "2.0", "device": "cpu", "commit": "abc"}


def overwrite(file: Path) -> None:
    """Other digits in place, as many; and a time stamp as if nothing had been written."""
    before = file.stat()
    with open(file, "r+b") as opened:
        text = opened.read().replace(b"2.0", b"7.0")
        opened.seek(0)
        opened.write(text)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def replace(file: Path) -> None:
    """By another file of the same size and time."""
    before, other = file.stat(), file.with_name("other")
    other.write_bytes(file.read_bytes().replace(b"2.0", b"8.0"))
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(file)


def grow(file: Path) -> None:
    file.write_text(file.read_text() + json.dumps(row("eval", 90, train_loss=0.25)) + "\n")


def judge(file: Path) -> None:
    """Another end, of as many letters."""
    end = file.with_name("summary.json")
    if end.exists():
        end.write_text(end.read_text().replace('"done"', '"d0ne"').replace('"diverged"', '"done"'))


CHANGES = {
    "grow": grow,
    "overwrite": overwrite,
    "replace": replace,
    "judge": judge,
    "truncate": lambda file: os.truncate(file, file.stat().st_size * 2 // 3),
    "delete": lambda file: shutil.rmtree(file.parent),
    "go on": lambda file: file.with_name("summary.json").unlink(missing_ok=True),
    "lose its name": lambda file: file.with_name("run.json").write_text("{"),
}


HISTORIES = st.lists(
    st.tuples(st.sampled_from([*CHANGES, "make", "read"]), st.integers(0, len(RUNS) - 1)), min_size=1, max_size=5
)


def happens(folder: Path, changes: list[tuple[str, int]]) -> None:
    """Make these changes to the runs of a new tree, and assert that the cache gives what the files say."""
    root = tree(folder / "runs")
    load(root)
    for change, index in changes:
        file = RUNS[index].directory(root) / "metrics.jsonl"
        if change == "make":
            put(root, RUNS[index], evals("train_loss", 3.0, 2.0, index))
        elif change == "read":  # some of them: what is kept of the others stays
            load([file.parent, RUNS[0].directory(root)])
        elif file.exists():
            CHANGES[change](file)
    check(root)


@pytest.mark.filterwarnings("ignore:damaged runs")
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(HISTORIES)
def test_whatever_happens_to_the_runs(tmp_path_factory, changes):
    happens(tmp_path_factory.mktemp("tree"), changes)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:damaged runs")
@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(HISTORIES)
def test_whatever_happens_to_the_runs_at_length(tmp_path_factory, changes):
    happens(tmp_path_factory.mktemp("tree"), changes)


@pytest.mark.parametrize("damage", ["empty", "cut", "bit", "foreign", "older", "pickle"])
def test_a_cache_that_cannot_be_used_is_written_anew(tmp_path, damage, reads):
    root = tree(tmp_path / "runs")
    fresh = load(root)
    for file in (root / ".cache").glob("*.columns"):
        data = file.read_bytes()
        middle = len(data) // 2
        broken = {
            "empty": b"",
            "cut": data[:middle],
            "bit": data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :],
            "pickle": b"\x80\x04N.",
        }.get(damage, data)
        file.write_bytes(broken)
        if damage == "foreign":
            with open(file, "wb") as opened:
                np.save(opened, np.ones(2))
        if damage == "older":
            file.write_bytes(packing.pack(cache.load(str(root), int(file.stem, 16)), "0" * 64))
    del reads[:]
    pd.testing.assert_frame_equal(load(root), fresh, check_exact=True)
    assert len(reads) == len(RUNS)
    del reads[:]
    pd.testing.assert_frame_equal(load(root), fresh, check_exact=True)
    assert reads == []


@pytest.mark.parametrize("place", range(0, 100, 4))
def test_no_bit_of_a_column_that_is_read_may_be_another(tmp_path, place):
    root = tree(tmp_path / "runs")
    fresh = load(root)
    for file in (root / ".cache").glob("*.columns"):
        data = bytearray(file.read_bytes())
        data[len(data) * place // 100] ^= 16
        file.write_bytes(data)
    pd.testing.assert_frame_equal(load(root), fresh, check_exact=True)


@pytest.mark.parametrize("wanted", [{"train_loss"}, {"outcome", "parameters"}, {"loss", "work"}, set()])
def test_a_column_that_is_wanted_is_what_it_is_among_all(tmp_path, wanted, reads):
    root = tree(tmp_path / "runs")
    runs = [*RUNS[3:], a_run("kfac"), *RUNS[:3]]
    everything = collect(runs, root).frame
    columns = [name for name in everything if name in {*IDENTITY, "seed", *AXES, *wanted}]
    del reads[:]
    pd.testing.assert_frame_equal(collect(runs, root, wanted.__contains__).frame, everything[columns], check_exact=True)
    assert reads == ["kfac"]
    put(root, RUNS[0], evals("train_loss", 3.0, 2.0, 1.0))  # kept again with all columns, though few were wanted
    collect(runs, root, wanted.__contains__)
    check(root)


def test_a_folder_that_cannot_be_written(tmp_path):
    root = tree(tmp_path / "runs")
    (root / ".cache").write_text("no folder")  # not even root can write into it
    check(root)
    assert (root / ".cache").read_text() == "no folder"


def test_two_that_write_at_once_leave_a_whole_cache(tmp_path, reads):
    root = tree(tmp_path / "runs")
    code = (
        NEWEST
        + "root = sys.argv[1]; [(cache.save(root, cache.shard_of(name), {}), load(root)) for name in sys.argv[2:] * 5]"
    )
    both = [subprocess.Popen([sys.executable, "-c", code, root, *(run.slug for run in RUNS)]) for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    check(root)
    assert len(reads) == len(RUNS) and not list((root / ".cache").glob(".*"))  # of the copy alone


@pytest.mark.filterwarnings("ignore:damaged runs")
def test_a_run_that_is_not_over_or_just_written_is_not_kept(tmp_path, monkeypatch, reads):
    put(tmp_path, a_run("adam"), evals("train_loss", 2.0), None)
    put(tmp_path, a_run("sgd"), evals("train_loss", 2.0))
    load(tmp_path)
    monkeypatch.setattr(files, "SETTLED", 60.0)
    put(tmp_path, a_run("newton"), evals("train_loss", 2.0))
    load(tmp_path)
    del reads[:]
    load(tmp_path)
    assert sorted(reads) == ["adam", "newton"]


def test_little_that_is_new_is_read_each_time_and_nothing_written(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "WORTH", 1 << 18)
    tree(tmp_path)
    load(tmp_path)
    assert not (tmp_path / ".cache").exists()


HELPERS = {
    "answers": (reading._HELP, 0),
    "keeps, and answers nothing": (
        NEWEST + "reading.pack = lambda kept, code: cache.pack({}, code); reading.help_out()",
        0,
    ),
    "keeps nothing that lasts": (NEWEST + "cache.save = lambda *_: True; reading.help_out()", len(RUNS)),
    "dies": ("raise SystemExit", len(RUNS)),
}
"""The code of a helper process, and the number of runs that are left to its parent."""


@pytest.mark.parametrize("helper", HELPERS)
def test_helpers_read_what_one_process_reads(tmp_path, monkeypatch, helper, reads):
    root = tree(tmp_path / "runs")
    fresh = load(tree(tmp_path / "bare"))
    monkeypatch.setattr(reading, "SHARED", 0)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1})
    code, left = HELPERS[helper]
    monkeypatch.setattr(reading, "_HELP", code)
    del reads[:]
    pd.testing.assert_frame_equal(load(root), fresh, check_exact=True)
    assert len(reads) == left
