"""`sobench compare`: from words to a page, and every wrong word in one line before a run is made."""

import json
import shlex
import shutil
from pathlib import Path

import pytest
from harness import command

from sobench.cli import compare
from sobench.cli.bench import cells
from sobench.report.comparison import files


@pytest.fixture
def empty(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def suite(empty) -> Path:
    """A suite of the user's own: two problems that take no time."""
    (empty / "conf/suite").mkdir(parents=True)
    (empty / "conf/suite/mine.yaml").write_text(
        "title: mine\nsettings: [budget.steps=4, evaluate.steps=1, threads=1]\nproblems:\n"
        "  one: {experiment: suite/digits-linear, metric: validation_loss}\n"
        "  two: {experiment: suite/digits-linear, settings: [validation=0.2], metric: train_loss, target: 2.2}\n"
    )
    return empty


def test_a_suite_from_an_empty_folder(suite):
    words = ("compare", "sgd,adamw", "--suite", "mine", "--seeds", "2")
    refused = command(*words)
    assert refused.code == 2 and "none of its 8 runs under runs is finished (8 missing)" in refused.err
    assert "sobench compare sgd,adamw --suite mine --seeds 2 --run" in refused.err
    made = command(*words, "--run", "wait=false", "progress=false")
    assert made.code == 0 and "8 runs: 8 done" in made.out
    assert made.out.splitlines()[-2:] == ["reports/compare/mine/report.md", "reports/compare/mine/index.html"]
    about = json.loads(Path("reports/compare/mine/comparison.json").read_text())
    assert about["baseline"] == "adamw" and [problem["name"] for problem in about["problems"]] == ["one", "two"]
    assert about["problems"][1]["target_from"] == "set by the suite" and about["problems"][1]["levels"]["target"] == 2.2
    before = {file.name: file.read_bytes() for file in Path("reports/compare/mine").iterdir()}
    shutil.rmtree("runs/.cache")
    again = command(*words, "suite=mine")
    assert again.code == 0 and "all done already" not in again.out
    assert {file.name: file.read_bytes() for file in Path("reports/compare/mine").iterdir()} == before
    assert "by steps" in made.out.lower() and "What this cannot say" in made.out
    others = command(
        "compare", "runs", "--baseline", "sgd", "--axis", "step", "--metric", "train_loss", "--name", "x/y"
    )
    assert others.code == 0, others.err
    assert others.out.splitlines()[-1] == "reports/compare/x/y/index.html"


def test_a_comparison_is_made_again_only_if_something_changed(suite, monkeypatch):
    words = ("compare", "sgd,adamw", "--suite", "mine", "--seeds", "2", "--json")
    made = command(*words, "--run", "wait=false", "progress=false")
    assert made.code == 0, made.err
    folder, (known,) = Path("reports/compare/mine"), Path("runs/.cache/compare").iterdir()
    before = {file: file.read_bytes() for file in folder.iterdir()}
    answer, terminal = json.loads(command(*words).out), command(*words[:-1]).out

    def written_again() -> bool:
        times = {file: file.stat().st_mtime_ns for file in folder.iterdir()}
        assert json.loads(command(*words).out) == answer
        assert {file: file.read_bytes() for file in folder.iterdir()} == before
        return any(file.stat().st_mtime_ns != times.get(file) for file in before)

    assert not written_again() and command(*words[:-1]).out == terminal
    for name in ("index.html", "outcomes.csv", "figure.png"):
        (folder / name).write_bytes(before[folder / name][:-1])
        assert written_again() and not written_again()
    (folder / "tables.tex").unlink()
    assert written_again() and not written_again()
    for damage in (b"", b"00000000\n{}", known.read_bytes()[:-1], known.read_bytes().replace(b"adamw", b"adamx")):
        known.write_bytes(damage)
        assert written_again() and not written_again()
    with monkeypatch.context() as patch:
        patch.setattr(files, "_code", lambda: "another version")
        assert written_again() and not written_again()
    assert written_again()
    Path("runs/.cache/compare").rename("elsewhere")
    Path("runs/.cache/compare").touch()  # nothing can be kept
    assert written_again() and command(*words[:-1]).out == terminal


def test_other_runs_or_options_are_another_comparison(suite):
    words = ("compare", "sgd,adamw", "--suite", "mine", "--run", "wait=false", "progress=false", "--seeds")
    page = Path("reports/compare/mine/index.html")
    assert command(*words, "2").code == 0
    two = page.read_bytes()
    assert command(*words, "3").code == 0
    assert page.read_bytes() != two
    assert command(*words, "2").code == 0
    assert page.read_bytes() == two
    assert command("compare", "sgd,adamw", "--suite", "mine", "--seeds", "2", "--baseline", "sgd").code == 0
    assert page.read_bytes() != two


def test_an_own_optimizer_is_compared_with_its_defaults(suite):
    Path("mine.py").write_text(
        "import torch\n\n\nclass Plain(torch.optim.SGD):\n"
        "    def __init__(self, params, lr: float = 0.1):\n        super().__init__(params, lr=lr)\n"
    )
    made = command("compare", "mine.py:Plain,sgd", "--suite=mine", "--seeds=1", "--run", "wait=false", "progress=false")
    assert made.code == 0, made.err
    assert "By work: Plain undecided." in made.out
    assert "Not tuned, as far as is recorded" in made.out


@pytest.mark.slow
def test_the_axis_of_cost_names_the_command_that_measures_it(suite, monkeypatch):
    monkeypatch.setattr(cells, "STEPS", 0)
    monkeypatch.setattr(cells, "BLOCK", 0.001)
    words = ("compare", "sgd,adamw", "--suite", "mine", "--seeds", "2")
    assert command(*words, "--run", "wait=false", "progress=false").code == 0
    refused = command(*words, "--axis", "cost")
    (line,) = refused.errors
    assert refused.code == 2 and "--axis: got cost: the cost of 4 configurations is not measured on " in line
    measure = shlex.split(line.partition("; to measure there: ")[2])
    assert measure[:6] == ["sobench", "bench", "cells", "sgd,adamw", "--suite", "mine"]
    measured = command(*measure[1:])
    assert measured.code == 0 and len(measured.out.splitlines()) == 4
    compared = command(*words, "--axis", "cost")
    assert (
        compared.code == 0 and "By cost: sgd" in compared.out and "By cost, warm starts are left out." in compared.out
    )
    assert "By cost with warm start: sgd" in command(*words).out, "it is an axis by default where it is measured"


def test_the_command_that_measures_has_the_methods_and_settings_of_the_comparison():
    settings = ["dataset=digits", "optimizer.lr=0.1", "runs=there", "wait=false"]
    cases = [
        (compare.Request(("sgd", "mine.py:Mine"), "small"), "sgd,mine.py:Mine --suite small"),
        (compare.Request(suite="small"), "adamw,sgd --suite small"),
        (compare.Request(("sgd", "adam"), overrides=settings), "optimizer=sgd,adam dataset=digits optimizer.lr=0.1"),
        (compare.Request(experiments=("zoo/vit",)), "zoo/vit"),
    ]
    for request, words in cases:
        assert compare._measuring(request) == f"sobench bench cells {words}"
    assert compare._measuring(compare.Request(folder=Path("runs"))) is None


@pytest.mark.parametrize(
    "words, line",
    [
        (("sgdd",), "compare: got 'sgdd', which is no optimizer, experiment, folder or setting; did you mean 'sgd'"),
        (("sgd,adam", "--suite", "smal"), "--suite: got 'smal', allowed: digits, small; did you mean 'small'?"),
        (
            ("sgd,adam", "--seeds", "3", "dataset=digits"),
            "--seeds: got 3, allowed: with a suite; or settings, as seed=0,1,2",
        ),
        (("sgd,adam", "--suite", "digits", "--seeds", "0"), "--seeds: got 0, allowed: 1 or more"),
        (("sgd,adam", "--suite", "digits", "seed=1"), "compare: got seed= with a suite; allowed"),
        (("zoo/vit", "--suite", "digits"), "compare: got suite=digits and zoo/vit; allowed: one of"),
        ((), "compare: there is no run under runs; allowed: a folder of runs, or with --run a suite"),
        (("--run",), "--run: got a folder of runs; allowed: a suite, an experiment, or settings"),
        (
            ("sgd,adam", "--suite", "digits", "--tuning-seeds", "a"),
            "--tuning-seeds: got 'a', allowed: seeds, as 0 or 0,1",
        ),
        (("sgd,adam", "--suite", "digits", "--axis", "stepp"), "--axis: got 'stepp'"),
        (("sgd,adam", "--suite", "digits", "--baseline", "kfac"), "--baseline: got 'kfac'"),
        (("sgd,adam", "--suite", "digits", "--target", "kfac"), "--target: got 'kfac'"),
        (("sgd", "--suite", "digits"), "compare: got one method, sgd; allowed: two at least"),
        (
            ("sgd,adam", "--suite", "digits", "--name", "../x"),
            "--name: got '../x', allowed: a folder below reports/compare",
        ),
        (("sgd,adam", "--suite", "digits", "optimizer.lrr=1"), "optimizer.lrr"),
    ],
)
@pytest.mark.parametrize("run", [(), ("--run",)])
def test_a_wrong_word_is_one_line_and_nothing_is_made(empty, words, line, run):
    if run and words in ((), ("--run",)):
        pytest.skip("with --run it is a case of its own")
    result = command("compare", *words, *run)
    assert result.code == 2 and line in result.err, result.err
    assert len(result.errors) == 1 and not any(empty.iterdir())


def test_an_error_in_a_suite_names_its_place(empty):
    (empty / "conf/suite").mkdir(parents=True)
    file = empty / "conf/suite/mine.yaml"
    cases = {
        "problems: []": "mine.yaml of conf/suite: problems: allowed: a mapping",
        "problems: {a: {experiment: suite/digits-lin}}": "problems.a.experiment: got 'suite/digits-lin', did you mean",
        "problems: {a: {experiment: zoo/vit, metrics: x}}": "problems.a: got the key 'metrics', allowed:",
        "problems: {a: {experiment: zoo/vit, target: 1}}": "problems.a: a target without a metric; allowed: both",
        "problems: {a: {experiment: zoo/vit, metric: m, target: x}}": "problems.a.target: got 'x', allowed: a number",
        "settings: budget=cpu\nproblems: {a: {experiment: zoo/vit}}": "settings: got 'budget=cpu', allowed: a list",
        "problems: {a: 3}": "problems.a: allowed: {experiment: NAME",
        "title: [": "mine.yaml",
    }
    for text, line in cases.items():
        file.write_text(text)
        result = command("compare", "sgd,adamw", "--suite", "mine")
        assert result.code == 2 and line in result.err and len(result.errors) == 1, (text, result.err)


def test_a_comparison_is_verified_and_written_again(suite):
    made = command("compare", "sgd,adamw", "--suite", "mine", "--seeds", "2", "--run", "wait=false", "progress=false")
    assert made.code == 0, made.err
    folder = Path("reports/compare/mine")
    assert command("report", "--verify").out == "1 report: 1 as their numbers say\n"
    before, page = (folder / "report.md").read_bytes(), folder / "report.md"
    page.write_text(page.read_text().replace("undecided", "faster"))
    refused = command("report", "--verify")
    assert refused.code == 1 and "report.md, line" in refused.out
    assert command("report", "--again").code == 0 and page.read_bytes() == before
    (folder / "outcomes.csv").write_text("")
    assert "not the files of a comparison" in command("report", "--verify").out
    assert command("report", "--withdraw", "a reason", "reports").code == 0 and page.read_bytes() == before
