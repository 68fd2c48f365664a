"""Every damage to the files of a finished run is found when the run is read, or changes nothing."""

import json
import random
import shutil
from pathlib import Path

import pytest
from harness import SMALL, as_written, command, directory, result, summary
from run_tree import a_run, evals, put

from sobench.results import collect, digests, load
from sobench.results.rundir import Metrics
from sobench.results.state import state
from sobench.system import files

RUN = [*SMALL, "budget.steps=12", "log.every=1"]


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    assert command("run", *RUN, f"runs={folder}").code == 0
    return folder


@pytest.fixture
def run(workplace, made) -> Path:
    """The directory of a run of 12 steps that is done."""
    shutil.copytree(made, "runs", ignore=shutil.ignore_patterns(".cache"))
    return directory()


def flip(data: bytes, place: float) -> bytes:
    changed = bytearray(data)
    changed[int(place * len(data))] ^= 1 << int(place * 8e6) % 8
    return bytes(changed)


def without_a_line(data: bytes, place: float) -> bytes:
    lines = data.splitlines(keepends=True)
    del lines[int(place * len(lines))]
    return b"".join(lines)


def swapped(data: bytes, place: float) -> bytes:
    lines = data.splitlines(keepends=True)
    one = int(place * (len(lines) - 1))
    lines[one : one + 2] = lines[one + 1], lines[one]
    return b"".join(lines)


DAMAGES = {
    "a bit": flip,
    "cut": lambda data, place: data[: int(place * len(data))],
    "a line gone": without_a_line,
    "two lines swapped": swapped,
    "zeros": lambda data, place: data[: int(place * len(data))] + bytes(len(data) - int(place * len(data))),
    "longer": lambda data, place: data + data[int(place * len(data)) :],
    "missing": lambda data, place: None,
}


def test_300_damages(run):
    """Each is found, or nothing that is read of the run is another: no wrong number."""
    draw, whole = random.Random(21), {path: path.read_bytes() for path in run.iterdir()}
    fresh, names = load(run), ("summary.json", *digests.FILES)
    harmless = 0
    for number in range(300):
        file = run / names[number % len(names)]
        damage = DAMAGES[draw.choice([*DAMAGES])]
        changed = damage(whole[file], draw.random())
        file.unlink() if changed is None else file.write_bytes(changed)
        found = state(run).status
        if found not in ("damaged", "interrupted"):  # interrupted: without a summary
            harmless += 1
            assert found == "done" and load(run).equals(fresh), (file.name, changed)
        file.write_bytes(whole[file])
    assert harmless <= 10  # a bit in the name of the digest, lines that are alike
    assert state(run).status == "done"


@pytest.mark.parametrize("name", ["metrics.jsonl", "environment.json"])
def test_a_damaged_run_is_named_left_out_and_made_again(run, name):
    true, file = result(run), run / name
    file.write_bytes(file.read_bytes().replace(b"1", b"2"))
    assert f"damaged: {name} is not what it was when the run was done (seed 0)" in command("status").out
    with pytest.warns(UserWarning, match="damaged runs: "):
        assert load(run).empty
    verified = command("verify")
    assert verified.code == 1 and verified.out.splitlines() == [
        f"{run}: {name} is not what it was when the run was done",
        "1 run: 1 damaged",
    ]
    planned = command("plan", *RUN)
    assert "0 done, 1 left" in planned.out
    again = command("run", "-m", *RUN)
    assert again.code == 0 and again.out.splitlines()[0].endswith("; made again, the old files are in runs/.old")
    assert again.out.splitlines()[-1] == "1 run: 1 done" and result(run) == true
    assert command("verify").out == "1 run: 1 intact\n"
    assert command("run", "-m", *RUN).out == "1 run: 1 done; nothing to do\n"


def test_retry_makes_a_damaged_run_again(run):
    (run / "metrics.jsonl").write_text("")
    assert command("retry", "progress=false").out.splitlines()[0] == "retry: 1 damaged; old files are in runs/.old"
    assert state(run).status == "done"


@pytest.mark.parametrize("name", ["run.json", "config.yaml"])
def test_what_follows_from_the_settings_is_rewritten_and_nothing_trained(run, name):
    before, record = (run / name).read_bytes(), (run / "metrics.jsonl").stat().st_mtime_ns
    (run / name).write_bytes(before.replace(b"64", b"65", 1).replace(b"seed", b"sead", 1))
    assert state(run).damaged == (name,)
    again = command("run", "-m", *RUN, f"runs={run.parents[1]}")
    assert again.code == 0 and f"{name} could not be read and was rewritten" in again.out
    assert again.out.splitlines()[-1] == "1 run: 1 done; nothing to do"
    assert state(run).status == "done" and (run / "metrics.jsonl").stat().st_mtime_ns == record


def test_a_damaged_result_is_nothing_that_gc_deletes(run):
    (run / "run.json").unlink()
    assert command("gc", "--yes").out == "0 found, 0 B; nothing deleted\n"


def test_a_finished_run_is_read_once(run, monkeypatch):
    monkeypatch.setattr(files, "SETTLED", -10.0)
    read = []
    true = digests.Contents.__missing__

    def counted(self, name):
        read.extend({name} & {*digests.FILES})
        return true(self, name)

    monkeypatch.setattr(digests.Contents, "__missing__", counted)
    for _ in range(3):
        assert state(run).status == "done"
        assert len(read) == len(digests.FILES)
        digests._checked.clear()  # as another process
    (run / "metrics.jsonl").write_bytes((run / "metrics.jsonl").read_bytes())  # the same, at another time
    assert state(run).status == "done" and len(read) == 2 * len(digests.FILES)
    Path("runs/.cache/checked").write_bytes(b"\x00\xff")
    digests._checked.clear()
    assert state(run).status == "done" and len(read) == 3 * len(digests.FILES)


def test_verify_believes_no_list(run, monkeypatch):
    monkeypatch.setattr(files, "SETTLED", -10.0)
    monkeypatch.setattr(digests, "stamp", lambda path: [*files.stamp(path)[:1], 0])  # a disk that changed by itself
    assert state(run).status == "done"
    (run / "metrics.jsonl").write_bytes(flip((run / "metrics.jsonl").read_bytes(), 0.5))
    assert state(run).status == "done"
    assert command("verify").code == 1


def test_the_digest_is_of_the_rows_and_not_of_the_disk(tmp_path):
    record = Metrics(tmp_path / "metrics.jsonl")
    record.append({"kind": "eval", "step": 0})
    record.sync()
    written = (tmp_path / "metrics.jsonl").read_bytes()
    (tmp_path / "metrics.jsonl").write_bytes(flip(written, 0.5))
    record.append({"kind": "eval", "step": 1})
    record.close()
    assert record.chain == digests.sha256(written + b'{"kind": "eval", "step": 1}\n')


def test_a_run_from_before_digests_is_read_as_it_was(tmp_path):
    rows = evals("train_loss", 2.0, 1.0)
    plain, counted, cut = (put(tmp_path, a_run("sgd", seed), rows) for seed in range(3))
    for path, more in ((counted, 0), (cut, 1)):
        length = (path / "metrics.jsonl").stat().st_size + more
        (path / "summary.json").write_text(json.dumps(summary(path) | {"metrics_bytes": length}))
    assert [state(path).status for path in (plain, counted, cut)] == ["done", "done", "damaged"]
    assert state(cut).reason == "metrics.jsonl is not as long as it was when the run was done"
    runs = [a_run("sgd", seed) for seed in range(3)]
    with pytest.warns(UserWarning, match="damaged runs: .*seed-2"):
        found = collect(runs, tmp_path)
    assert len(found.frame) == 4 and not found.stale and found.states[runs[2].id].status == "damaged"
    done = command("verify", f"runs={tmp_path}")
    assert done.code == 1 and done.out.splitlines()[-1] == "3 runs: 1 damaged, 2 without a digest"


def test_a_damaged_checkpoint_of_a_run_that_is_not_over(run):
    (run / "summary.json").unlink()
    (run / "checkpoint.pt").write_bytes(digests.signed(b"state"))
    assert command("verify").out == "1 run: 1 not over\n"
    (run / "checkpoint.pt").write_bytes(flip(digests.signed(b"state"), 0.5))
    assert command("verify").out.splitlines() == [f"{run}: checkpoint.pt is damaged", "1 run: 1 damaged"]


def test_a_change_of_the_summary_by_its_own_run_is_none(run):
    as_written(run, shared=True)
    assert state(run).status == "done"
