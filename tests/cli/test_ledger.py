"""`sobench retry` and `sobench gc`: no result is lost, and no running run is touched."""

import json
import os
import shutil
from pathlib import Path

import pytest
from filelock import FileLock
from harness import as_written, command, directories, result, summary

from sobench.config import jobs
from sobench.config.grid import expand
from sobench.errors import UsageError
from sobench.results.sweeps import Sweep
from sobench.system.text import parse_duration

DEMO = ("demo/digits", "budget=smoke", "optimizer=sgd,adam", "seed=0,1", "threads=1")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Four runs of the demo, made once for all tests."""
    folder = tmp_path_factory.mktemp("made")
    before = os.getcwd()
    os.chdir(folder)
    try:
        assert command("run", f"experiment={DEMO[0]}", *DEMO[1:]).code == 0
    finally:
        os.chdir(before)
    return folder / "runs"


@pytest.fixture
def runs(workplace, made) -> list[Path]:
    """The four runs, copied into the workplace: two of adam, then two of sgd."""
    shutil.copytree(made, "runs")
    return directories()


def ended(path: Path, status: str) -> None:
    """Change the status in the run's result."""
    as_written(path, status=status, reason="it did")


def older(path: Path) -> None:
    found = json.loads((path / "environment.json").read_text())
    assert len(found["fingerprint"]["method"]) == len(found["fingerprint"]["data"]) == 64
    (path / "environment.json").write_text(
        json.dumps(found | {"fingerprint": found["fingerprint"] | {"method": "older", "data": None}})
    )
    as_written(path)


def everything(folder: Path = Path(".")) -> dict[str, bytes]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and ".cache" not in path.parts)
    return {str(path): path.read_bytes() for path in files}


def put_aside() -> list[Path]:
    return sorted(Path("runs/.old").glob("*/seed-*/*"))


def test_failures_of_all_runs_are_made_again_and_what_was_is_kept(runs):
    true = [result(path) for path in runs]
    kept = [path.stat().st_mtime_ns for path in (runs[0] / "summary.json", runs[3] / "summary.json")]
    ended(runs[1], "failed"), ended(runs[2], "out-of-memory"), ended(runs[3], "diverged")
    diverged = everything(runs[3])
    done = command("retry", "progress=false")
    assert done.code == 0, done.err
    first, *_, last = done.out.splitlines()
    assert first == "retry: 1 failed, 1 out-of-memory; old files are in runs/.old" and last == "2 runs: 2 done"
    assert [result(path) for path in runs[:3]] == true[:3]
    assert everything(runs[3]) == diverged and (runs[0] / "summary.json").stat().st_mtime_ns == kept[0]
    assert [summary(path)["status"] for path in put_aside()] == ["failed", "out-of-memory"]
    assert not list(Path("runs/.jobs").iterdir())
    assert command("retry").out == "retry: nothing to do, no run is failed, out-of-memory, timed-out or damaged\n"


def test_of_an_experiment_with_flags_among_its_settings(runs):
    ended(runs[0], "diverged"), ended(runs[2], "diverged"), ended(runs[3], "failed")
    older(runs[1])
    assert "done 1, diverged 1, stale 1" in command("status", *DEMO).out
    done = command("retry", DEMO[0], "--diverged", *DEMO[1:3], "--stale", "seed=0,1", "threads=1")
    assert done.code == 0, done.err
    assert done.out.splitlines()[0] == "retry: 2 diverged, 1 stale; old files are in runs/.old"
    assert command("status", *DEMO).out.splitlines()[-1] == "2 cells, 4 runs: 3 done, 1 failed"
    assert len(put_aside()) == 3


def test_results_whose_time_was_disturbed_are_repeated_on_demand(runs):
    for path in runs:  # on a busy machine any of them may be contended
        as_written(path, timing={"quality": "quiet"})
    contended, shared = runs[1:3]
    as_written(contended, timing={"quality": "contended"}), as_written(shared, shared=True)
    done = command("retry", *DEMO, "--contended")
    assert done.code == 0, done.err
    assert done.out.splitlines()[0] == "retry: 1 contended; old files are in runs/.old"
    assert summary(contended)["timing"] != {"quality": "contended"} or "factor" in summary(contended)["timing"]
    assert command("retry", *DEMO, "--shared").out.startswith("retry: 1 shared; old files")
    assert result(contended) == result(put_aside()[0]) and len(put_aside()) == 2


def test_settings_select_among_the_runs_or_change_no_result(runs):
    for path in runs:
        ended(path, "timed-out")
    before = everything()
    wrong = command("retry", "batch_size=32")
    assert (
        wrong.code == 2
        and len(wrong.errors) == 1
        and "got batch_size=32, which describes other runs; allowed: " in wrong.errors[0]
    )
    assert everything() == before
    assert command("retry", "optimizer=adam", "seed=1", "progress=false").out.splitlines()[-1] == "1 run: 1 done"
    assert [summary(path)["status"] for path in runs] == ["timed-out", "done", "timed-out", "timed-out"]


def test_what_cannot_be_made_again_is_named_and_left(runs):
    ended(runs[0], "failed"), ended(runs[1], "failed"), ended(runs[2], "failed")
    (runs[0] / "config.yaml").write_text("{")
    (runs[1] / "config.yaml").write_text((runs[1] / "config.yaml").read_text() + "nonsense: 1\n")
    before = everything(runs[0]) | everything(runs[1])
    done = command("retry", "progress=false")
    assert done.code == 0 and done.out.splitlines()[-1] == "1 run: 1 done"
    assert [line.partition("cannot be repeated: ")[2][:11] for line in done.errors] == ["config.yaml", "nonsense: n"]
    assert everything(runs[0]) | everything(runs[1]) == before


def test_a_run_at_work_is_not_put_aside(runs):
    from sobench.cli.retry import move_to_old

    with FileLock(runs[0] / "lock"):
        assert not move_to_old(Path("runs"), str(runs[0].relative_to("runs")))
    (runs[1] / "holder.json").write_text(json.dumps({"pid": 1, "host": "elsewhere", "since": "now"}))
    assert not move_to_old(Path("runs"), str(runs[1].relative_to("runs")))
    assert runs[0].is_dir() and runs[1].is_dir() and not put_aside()


@pytest.mark.parametrize(
    "settings",
    [
        ("optimizer=kfac", "optimizer.damping=1e-5"),
        ("runs='a b/it is'",),
        ("instrument=summary", "model.widths=[3,4]"),
        (
            "optimizer=block_fisher",
            "instrument=directions",
            "+optimizer@instrument.companions.tnt=tnt",
            "instrument.companions.tnt.lr=1",
        ),
    ],
)
def test_the_overrides_of_a_configuration_make_it_again(workplace, settings):
    (run,) = expand(["model.widths=[4]", *settings])
    (again,) = expand(jobs.overrides(run.config))
    assert (again.id, again.config) == (run.id, run.config)


# gc


def litter(runs: list[Path]) -> list[Path]:
    """Write one leftover of each kind, and return their paths."""
    cell = runs[0].parent.name
    files = [
        runs[0] / "checkpoint.pt",
        runs[1] / ".summary.json.123",
        runs[2] / "holder.json",
        Path(f"runs/.old/{cell}/seed-7/2020-01-01T00-00-00/metrics.jsonl"),
        Path("runs/.jobs/retry-0.json"),
        Path("runs", cell, "seed-9", "metrics.jsonl"),
        Path("runs/.sweeps/0.json"),
    ]
    for path in files:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    empty = Path("runs/a_b_c_0123456789ab")
    empty.mkdir()
    return [*files[:3], files[3].parent, files[4], files[5].parent, files[6], empty]


def test_gc_lists_and_deletes_only_when_told(runs):
    standing = everything()
    rubbish = litter(runs)
    before = everything()
    listed = command("gc", "--older-than", "0.000001s")
    assert listed.code == 0 and everything() == before
    *lines, last = listed.out.splitlines()
    assert sorted(line.split()[-1] for line in lines) == sorted(map(str, rubbish))
    assert last == "8 found, 14 B; nothing deleted: add --yes to delete"
    assert command("gc", "--older-than", "0.000001s", "--yes").out.splitlines()[-1] == "8 found, 14 B; 8 deleted"
    assert everything() == standing and not any(path.exists() for path in rubbish)
    assert command("gc", "--yes", "--older-than", "0.000001s").out == "0 found, 0 B; nothing deleted\n"


def test_gc_leaves_what_is_young_at_work_to_be_resumed_or_not_ours(runs):
    ended(runs[1], "failed")
    cell = runs[0].parent
    (runs[1] / "checkpoint.pt").write_text("to resume from")
    for path in (
        cell / "seed-8" / "checkpoint.pt",
        cell / "seed-9" / "lock",
        Path("runs/mine/seed-1/thesis.tex"),
        Path(f"runs/.old/{cell.name}/seed-7/2020-01-01T00-00-00/run.json"),
        Path("runs/notes.txt"),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("" if path.name == "lock" else "mine")
    (runs[0] / "checkpoint.pt").write_text("at work")
    before = everything()
    with FileLock(runs[0] / "lock"), FileLock(cell / "seed-9" / "lock"), Sweep("runs", expand(["seed=5"])) as sweep:
        (runs[0] / "summary.json").rename("aside")
        assert command("gc", "--yes", "runs=runs").out == "0 found, 0 B; nothing deleted\n"
        Path("aside").rename(runs[0] / "summary.json")
        assert sweep.path.exists()
    assert everything() == before


def test_gc_goes_on_behind_links_and_files_that_are_not_of_sobench(runs):
    cell = runs[0].parent
    mine = Path("mine")
    mine.mkdir()
    (mine / "thesis.tex").write_text("mine")
    (cell / "seed-7").symlink_to(mine.absolute())
    Path("runs/a_b_c_0123456789ab").symlink_to(mine.absolute())
    (runs[0] / "checkpoint.pt").symlink_to((mine / "thesis.tex").absolute())
    (cell / "seed-8").mkdir()
    (cell / "seed-8" / "notes.txt").write_text("mine")
    (runs[1] / ".notes.2024").write_text("mine")
    before = everything()
    (runs[2] / "checkpoint.pt").write_text("left by a killed process")
    said = command("gc", "--yes")
    assert said.code == 0 and not said.err and everything() == before
    for path, what in ((cell / "seed-8", "notes.txt"), (runs[0] / "checkpoint.pt", "the link checkpoint.pt")):
        assert f"{path}: not deleted, {what} is not of sobench" in said.out.splitlines()
    assert said.out.splitlines()[-1].endswith("; 1 deleted")
    assert (cell / "seed-7").is_symlink()


def test_gc_of_one_that_was_begun_meanwhile(runs):
    from sobench.cli.clean import _delete, leftovers

    (runs[0] / ".run.json.1").write_text("x")
    (one,) = leftovers(Path("runs"), 1e9)
    with FileLock(runs[0] / "lock"):
        assert not _delete(one)
    assert one.path.exists() and _delete(one) and not _delete(one)


# Strange files

STRANGE = {
    "deep": "[" * 100_000 + "]" * 100_000,
    "other types": '{"id": [], "config": 3, "status": ["done"], "kind": [], "step": {}, "fingerprint": [1]}',
    "zeros": "\0" * 500,
}


STRANGE_IN = (["run.json"], ["summary.json"], ["environment.json", "metrics.jsonl"], ["holder.json"])
"""The files of each of the four runs that are strange; the last run has its result all the same."""


@pytest.mark.parametrize("text", STRANGE)
def test_strange_files_are_one_line_each_and_the_other_runs_are_served(runs, text):
    for path, names in zip(runs, STRANGE_IN, strict=True):
        for name in names:
            (path / name).write_text(STRANGE[text] + "\n")
    for words in (["status"], ["runs"], ["show", str(runs[3])], ["gc"], ["verify"], ["retry"]):
        said = command(*words)
        assert said.code in (0, 1, 2) and len(said.errors) <= 1
        assert words[0] not in ("status", "runs") or "sgd" in said.out
    assert command("report", *DEMO).code == 0


# Wrong commands


@pytest.mark.parametrize(
    "words, part",
    [
        (["retry", "nonsense"], "experiment: got 'nonsense'"),
        (["retry", "demo/digits", "nonsense"], "nonsense: not a setting; allowed: KEY=VALUE"),
        (
            ["gc", "--older-than", "4x"],
            "--older-than: got '4x', allowed: a duration above 0, as 90s, 15m, 4h, 1h30m or 30d",
        ),
        (["gc", "what"], "what: not a setting; allowed: KEY=VALUE"),
        (["list", "optimizers", "seed=1"], "optimizers: got 'seed=1', allowed: "),
        (["gc", "seed=1"], "gc: got 'seed=1', allowed: runs=DIR"),
        (
            ["run", "-m", "hydra.sweeper.jobs=nowhere.json"],
            "hydra.sweeper.jobs: cannot read nowhere.json: No such file or directory",
        ),
        (["run", "-m", "hydra.sweeper.jobs=bad.json"], "hydra.sweeper.jobs: cannot read bad.json: it is not JSON"),
        (["run", "-m", "hydra.sweeper.jobs=empty.json"], "hydra.sweeper.jobs: empty.json holds no jobs"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_is_one_line(workplace, words, part):
    Path("bad.json").write_text("{")
    Path("empty.json").write_text("[]")
    wrong = command(*words)
    assert wrong.code == 2 and len(wrong.errors) == 1 and part in wrong.errors[0]
    assert sorted(path.name for path in workplace.iterdir()) == ["bad.json", "empty.json"]


@pytest.mark.parametrize(
    "words",
    [["retry", "--nonsense"], ["status", "--failed"], ["list", "optimizers", "sgd", "adam"], ["gc", "--older-than"]],
)
def test_flags_that_are_not_there(workplace, words):
    wrong = command(*words)
    assert wrong.code == 2 and "usage: sobench" in wrong.err and not list(workplace.iterdir())


@pytest.mark.parametrize(
    "text, total", [("90s", 90), ("15m", 900), ("4h", 14400), ("1h30m", 5400), ("2d", 172800), ("0.5h", 1800)]
)
def test_durations(text, total):
    assert parse_duration("--budget", text) == total


@pytest.mark.parametrize("text", ["", "4", "h", "4x", "-1h", "0s", "1h 30m", "4hh", "1e3s", "nan", "4H"])
def test_bad_durations(text):
    with pytest.raises(UsageError, match="^--budget: got '.*', allowed: a duration above 0"):
        parse_duration("--budget", text)
