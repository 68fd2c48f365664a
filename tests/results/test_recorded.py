"""The runs that directories name: with what an earlier command kept they are the same as without it."""

import datetime
import json
import os
import shutil
import time
import zlib

import pytest
import yaml
from run_tree import a_run, evals, put

from sobench.results.recorded import runs_under

KEPT = ".cache/recorded"


def add(root, name: str, seed: int, **settings) -> None:
    run = a_run(name, seed, **settings)
    directory = put(root, run, evals("train_loss", 2.0))
    (directory / "config.yaml").write_text(yaml.safe_dump(run.config))


@pytest.fixture
def root(tmp_path):
    """Two cells with two seeds each, and what a command kept of them."""
    for name in ("sgd", "newton"):
        for seed in range(2):
            add(tmp_path, name, seed, threads=seed + 1)
    for file in tmp_path.rglob("*.*"):  # so old that it cannot change again within the resolution of its time stamp
        os.utime(file, (time.time() - 60,) * 2)
    assert [slug.partition("/")[2] for slug, _ in found(tmp_path)] == ["seed-0", "seed-1"] * 2
    assert (tmp_path / KEPT).exists()
    return tmp_path


def found(root) -> list[tuple[str, dict]]:
    return [(run.slug, run.config) for run in runs_under(root)]


def test_what_is_kept_is_not_read_again(root, monkeypatch):
    first = found(root)
    monkeypatch.setattr(yaml, "load", lambda *_: pytest.fail("the settings were read again"))
    assert found(root) == first and [config["threads"] for _, config in first] == [1] * 4


def cell(root):
    return next(root.glob("*_sgd_*"))


def another_setting(root):
    """Of the same size, written at the same second."""
    file = cell(root) / "seed-0" / "config.yaml"
    file.write_text(file.read_text().replace("threads: 1", "threads: 8"))


def another_run(root):
    shutil.copy(next(root.glob("*_newton_*")) / "seed-1" / "run.json", cell(root) / "seed-1" / "run.json")


def no_record(root):
    (cell(root) / "seed-0" / "run.json").write_text("{}")


def no_directory(root):
    shutil.rmtree(cell(root) / "seed-0")


def another_seed(root):
    add(root, "sgd", 5)


def a_copy(root):
    shutil.copytree(cell(root) / "seed-0", cell(root) / "seed-7")


@pytest.mark.parametrize("change", [another_setting, another_run, no_record, no_directory, another_seed, a_copy])
def test_a_change_is_seen(root, change):
    before = found(root)
    change(root)
    after = found(root)
    shutil.rmtree(root / ".cache")
    assert after == found(root) and (after != before or change is a_copy)
    assert len({slug for slug, _ in after}) == len(after)


def flipped(text: bytes) -> bytes:
    return text.replace(b'"threads": 1', b'"threads": 3')


def of_other_code(text: bytes) -> bytes:
    whole = json.loads(text.partition(b"\n")[2])
    return signed(json.dumps({**whole, "code": "0"}).encode())


def signed(text: bytes) -> bytes:
    return b"%08x\n%b" % (zlib.crc32(text), text)


@pytest.mark.parametrize("damage", [flipped, of_other_code, lambda text: text[:-9], lambda _: signed(b"[1]")])
def test_a_damaged_file_is_ignored_and_rewritten(root, damage):
    first, kept = found(root), (root / KEPT).read_bytes()
    (root / KEPT).write_bytes(damage(kept))
    assert (root / KEPT).read_bytes() != kept and found(root) == first and (root / KEPT).read_bytes() == kept


def test_settings_that_json_does_not_give_back_are_read_each_time(tmp_path):
    add(tmp_path, "sgd", 0)
    (file,) = tmp_path.glob("*/*/config.yaml")
    file.write_text(file.read_text() + "since: 2020-01-01\nby_number: {1: one}\n")
    for one in (file, file.with_name("run.json")):
        os.utime(one, (time.time() - 60,) * 2)
    first = found(tmp_path)
    assert found(tmp_path) == first
    assert first[0][1]["since"] == datetime.date(2020, 1, 1) and first[0][1]["by_number"] == {1: "one"}


def test_a_folder_that_cannot_be_written(root, monkeypatch):
    first = found(root)
    shutil.rmtree(root / ".cache")
    (root / ".cache").write_text("")  # no folder
    assert found(root) == first
