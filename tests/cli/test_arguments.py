"""Every command about runs takes what `sobench run -m` takes; each wrong use is one line."""

from __future__ import annotations

from pathlib import Path

import pytest
from harness import SMALL, as_written, command, directories, summary

from sobench.cli.arguments import Selection, selection, value_of
from sobench.errors import UsageError
from sobench.results.recorded import runs_under

SWEEP = ("dataset=digits", "model=mlp", "optimizer=sgd,adam", "optimizer.lr=0.1,0.01", "seed=0,1")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], Selection(None, [])),
        ([None, "seed=0"], Selection(None, ["seed=0"])),
        (["a/b", "seed=0"], Selection("a/b", ["seed=0"])),
        (["experiment=a/b", "seed=0"], Selection("a/b", ["seed=0"])),
        (["seed=0", "a/b"], Selection("a/b", ["seed=0"])),
        (["a/b", "experiment=a/b"], Selection("a/b", [])),
        (["experiment=null", "~optimizer.lr", "+x=1"], Selection(None, ["~optimizer.lr", "+x=1"])),
    ],
)
def test_what_arguments_select(words, expected):
    assert selection(words) == expected


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["a/b", "nonsense"], "nonsense: not a setting; allowed: KEY=VALUE"),
        (["a/b", "experiment=c/d"], "got a/b and c/d, allowed: one"),
    ],
)
def test_two_experiments_are_refused(words, part):
    with pytest.raises(UsageError, match=part):
        selection(words)


@pytest.mark.parametrize("words", [[], ["runs=elsewhere"], ["threads=2", "logger=csv", "progress=false", "timeout=1"]])
def test_settings_that_change_no_result_select_no_runs(words):
    assert selection(words).is_everything


@pytest.mark.parametrize("word", ["seed=0", "optimizer=sgd", "budgets.cpu.epochs=3", "hydra.sweeper.jobs=f", "a/b"])
def test_settings_that_can_change_a_result_select_runs(word):
    assert not selection([word]).is_everything


@pytest.mark.parametrize(
    ("words", "folder"), [([], "runs"), (["runs=a"], "a"), (["runs='a b'"], "a b"), (['runs="a b"'], "a b")]
)
def test_the_folder_of_all_runs(words, folder):
    assert selection(words).folder == Path(folder)
    assert value_of("runs", words) == (folder if words else None)


def test_status_is_about_the_runs_of_a_pasted_sweep(workplace):
    shown = command("status", "-m", *SWEEP)
    assert shown.code == 0 and shown.out.splitlines()[-1] == "4 cells, 8 runs: 8 missing"
    assert command("status", *SWEEP, "-m").out == shown.out
    assert command("status", "experiment=demo/digits", "seed=0").out == command("status", "demo/digits", "seed=0").out


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["plan"], "plan: got no argument, allowed: an experiment, or settings"),
        (["plan", "runs=runs"], "plan: got runs=runs, allowed: an experiment"),
        (["plan", "optimizer=sgd", "--power"], "plan --power: got optimizer=sgd, allowed: a report"),
        (["tune", "optimizer=sgd"], "tune: got optimizer=sgd, allowed: an experiment with grids"),
        (["reproduce"], "reproduce: got no argument, allowed: an experiment"),
        (["reproduce", "optimizer=sgd", "--until-decided"], "got runs without claims"),
        (["report"], "got no ID and no settings, and there is no run under runs"),
        (["report", "runs=nowhere"], "there is no run under nowhere"),
        (["report", "demo/digit"], "did you mean 'demo/digits'"),
        (["report", *SWEEP], "none of its 8 runs under runs is finished (8 missing); make them with: sobench run -m"),
        (["report", "optimizer=sdg"], "optimizer: got 'sdg'"),
        (["retry", "optimizer.lr=7"], "retry: got optimizer.lr=7, which describes other runs"),
        (["status", "optimizer=sgd", "dataset.path=my data"], "dataset.path: no such key"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_each_wrong_use_is_one_line(workplace, words, part):
    wrong = command(*words)
    assert wrong.code == 2 and len(wrong.errors) == 1 and part in wrong.errors[0], wrong
    assert not list(workplace.iterdir())


@pytest.fixture
def swept(workplace):
    """Two optimizers at two learning rates, one seed each."""
    assert command("run", "-m", *SMALL, "optimizer=sgd,adam", "optimizer.lr=0.1,0.01", "progress=false").code == 0
    return workplace


def test_any_sweep_has_a_report_in_a_short_folder_and_it_is_verified(swept):
    words = [*SMALL, "optimizer=sgd,adam", "optimizer.lr=0.1,0.01"]
    made = command("report", "-m", *words)
    assert made.code == 0 and not made.err, made
    assert made.out.splitlines()[-1] == "reports/digits-mlp-smoke/report.md"
    page = Path("reports/digits-mlp-smoke/report.md").read_text()
    assert "sgd (lr " in page and "made with `sobench reproduce " in page and "![figure]" in page
    assert command("report", "--verify").out == "1 report: 1 as their numbers say\n"
    part = [*SMALL, "optimizer=sgd", "optimizer.lr=0.1,0.01"]
    assert command("report", *part).out.splitlines()[-1] == "reports/digits-mlp-smoke-2/report.md"  # fewer runs
    again = command("reproduce", *words)
    assert again.out.splitlines()[0] == "4 runs: 4 done; nothing to do"
    assert again.out.splitlines()[-1] == "reports/digits-mlp-smoke/report.md"  # the same runs
    everything = command("report", "runs=runs")
    assert everything.out.splitlines()[-1] == "reports/digits-mlp-smoke/report.md", everything
    assert command("report", "--verify").code == 0 and len(directories()) == 4
    for page in command("report", "--overview").out.splitlines():
        assert "digits-mlp-smoke" in Path(page).read_text()


EXPERIMENT = """# @package _global_
model: {widths: [4]}
threads: 1
hydra:
  mode: MULTIRUN
  sweeper:
    params: {optimizer: "sgd,adam", optimizer.lr: "0.1,0.01"}
"""
"""The runs of `swept`."""


def test_a_description_that_was_edited_is_not_replaced_and_works_among_the_reports(swept, tmp_path, monkeypatch):
    from own_conf import add_to_conf

    words = [*SMALL, "optimizer=sgd,adam", "optimizer.lr=0.1,0.01"]
    command("report", *words)
    description = Path("reports/digits-mlp-smoke/description.yaml")
    text = description.read_text().replace("title: digits, mlp", "title: Mine")
    description.write_text(text)
    assert command("report", *words).out.splitlines()[-1] == "reports/digits-mlp-smoke-2/report.md"
    assert description.read_text() == text
    add_to_conf(
        tmp_path / "conf", monkeypatch, {"report/mine/digits.yaml": text, "experiment/mine/sweep.yaml": EXPERIMENT}
    )
    shown = command("report", "mine/digits", *SMALL)
    assert shown.code == 0 and "Mine" in shown.out, shown
    all_of_it = ["budget=smoke", "budget.samples=null", "budget.grid=whole"]
    shown = command("report", "experiment=mine/sweep", *all_of_it)  # an experiment without a description
    assert shown.code == 0 and shown.out.splitlines()[-1] == "reports/mine/sweep-smoke/report.md", shown
    page = Path("reports/mine/sweep-smoke/report.md").read_text()
    assert f"made with `sobench reproduce mine/sweep {' '.join(all_of_it)}`" in page and "4 of 4 finished" in page


def test_retry_repeats_the_failed_runs_of_a_pasted_sweep_and_no_other(swept):
    for path in directories():
        as_written(path, status="failed", reason="it did")
    words = [*SMALL, "optimizer=sgd,adam", "optimizer.lr=0.1", "progress=false"]
    done = command("retry", "-m", *words)
    assert done.code == 0 and done.out.splitlines()[0] == "retry: 2 failed; old files are in runs/.old", done
    runs = runs_under(Path("runs"))
    assert {(run.config["optimizer"]["lr"], summary(run.directory("runs"))["status"]) for run in runs} == {
        (0.1, "done"),
        (0.01, "failed"),
    }
