"""`sobench tune --suite`: the choice of a method on each problem, and its use by the next comparison."""

import json
import os
from pathlib import Path

import pytest
import yaml
from harness import command

from sobench.config import suites, tuning
from sobench.config.grid import of_jobs
from sobench.errors import UsageError

OWN = """\
import torch


class Plain(torch.optim.SGD):
    def __init__(self, params, lr: float = 0.001, momentum: float = 0.0):
        super().__init__(params, lr=lr, momentum=momentum)
"""
SUITE = """\
title: mine
settings: [budget.steps=4, evaluate.steps=1]
problems:
  one: {experiment: suite/digits-linear, metric: validation_loss}
  two: {experiment: suite/digits-linear, settings: [validation=0.2], metric: train_loss, target: 2.2}
"""
QUIET = ("wait=false", "progress=false")


@pytest.fixture
def suite(tmp_path, monkeypatch) -> Path:
    """A folder with an optimizer of the user's own and a suite of two problems with the same experiment."""
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(OWN)
    (tmp_path / "conf/suite").mkdir(parents=True)
    (tmp_path / "conf/suite/mine.yaml").write_text(SUITE)
    return tmp_path


def write(*entries: tuple[list[str], dict]) -> None:
    """The file of the choices on digits-linear in the user's own folder."""
    folder = Path("conf/tuned")
    folder.mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump([{"cell": cell, "values": values} for cell, values in entries], sort_keys=False)
    (folder / "suite-digits-linear.yaml").write_text(text)


def chosen_for(optimizer: str) -> list[dict]:
    """The settings of an optimizer on each problem of the suite, those that it has of lr and momentum and damping."""
    found = []
    for problem in suites.read("mine").problems:
        (run,) = of_jobs(problem.jobs([optimizer], [0]))
        found.append({key: run.config["optimizer"].get(key) for key in ("lr", "momentum", "damping")})
    return found


# The file of the choices


def test_a_choice_replaces_those_that_differ_in_what_it_chooses_and_no_others():
    old = [
        {"cell": ["optimizer=sgd", "optimizer.momentum=0.9"], "values": {"optimizer.lr": 1}},
        {"cell": ["optimizer=sgd", "l2=1"], "values": {"optimizer.lr": 2}},
        {"cell": ["optimizer=adam"], "values": {"optimizer.lr": 3}},
    ]
    of_lr = {"cell": ["optimizer=sgd"], "values": {"optimizer.lr": 4}}
    assert tuning.joined(old, [of_lr]) == [*old, of_lr]
    of_both = {"cell": ["optimizer=sgd"], "values": {"optimizer.lr": 4, "optimizer.momentum": 0.5}}
    assert tuning.joined(old, [of_both]) == [*old[1:], of_both]
    again = {"cell": ["l2=1", "optimizer=sgd"], "values": {"optimizer.lr": 5}}
    assert tuning.joined(old, [again]) == [old[0], old[2], again]


def test_of_two_choices_that_fit_equally_well_the_later_one_holds():
    choices = [
        {"cell": ["optimizer=sgd", "optimizer.momentum=0.9"], "values": {"optimizer.lr": 1}},
        {"cell": ["optimizer=sgd", "budget=cpu"], "values": {"optimizer.lr": 2}},
        {"cell": ["optimizer=sgd"], "values": {"optimizer.lr": 3}},
    ]
    settings = ["optimizer=sgd", "optimizer.momentum=0.9", "budget=cpu"]
    assert tuning.choice(settings, choices) == {"optimizer.lr": 2}
    assert tuning.choice(settings[:2], choices) == {"optimizer.lr": 1}
    assert tuning.choice(settings[:1], choices) == {"optimizer.lr": 3}
    assert tuning.choice([], choices) == {}


def test_choices_of_the_users_own_are_joined_with_those_of_sobench(suite):
    before = tuning.entries("suite-digits-linear")
    write((["optimizer=adamw"], {"optimizer.lr": 0.5}))
    after = tuning.entries("suite-digits-linear")
    assert [entry["cell"] for entry in before].count(["optimizer=adamw"]) == 1
    assert after == [entry for entry in before if entry["cell"] != ["optimizer=adamw"]] + [
        {"cell": ["optimizer=adamw"], "values": {"optimizer.lr": 0.5}}
    ]
    said = command("status")
    assert "replaces" not in said.err


def test_a_choice_holds_for_the_settings_of_its_problem_alone(suite):
    write(
        (["optimizer=mine.py:Plain"], {"optimizer.lr": 0.25}),
        (["optimizer=mine.py:Plain", "validation=0.2"], {"optimizer.lr": 0.5, "optimizer.momentum": 0.75}),
        (["optimizer=mine.py:Plain", "batch_size=32"], {"optimizer.lr": 0.125}),
    )
    assert chosen_for("mine.py:Plain") == [
        {"lr": 0.25, "momentum": 0.0, "damping": None},
        {"lr": 0.5, "momentum": 0.75, "damping": None},
    ]
    (problem, _) = suites.read("mine").problems
    (run,) = of_jobs(problem.jobs(["mine.py:Plain"], [0], ["batch_size=32"]))
    assert run.config["optimizer"]["lr"] == 0.125
    (run,) = of_jobs(problem.jobs(["mine.py:Plain"], [0], ["optimizer.lr=3"]))
    assert run.config["optimizer"]["lr"] == 3, "the command line is above it"


# The trials


def test_the_trials_are_the_grid_on_the_tuning_seed_with_the_settings_of_the_problem(suite):
    _, two = suites.read("mine").problems
    grid = {"optimizer.lr": [0.5, 0.25], "optimizer.momentum": [0.5]}
    search = two.search(["mine.py:Plain"], grid, ["batch_size=32"])
    runs = of_jobs(two.trials(search))
    assert [(run.seed, run.config["optimizer"]["lr"], run.config["optimizer"]["momentum"]) for run in runs] == [
        (1000, 0.5, 0.5),
        (1000, 0.25, 0.5),
    ]
    assert {(run.config["validation"], run.config["batch_size"], run.config["budget"]["steps"]) for run in runs} == {
        (0.2, 32, 4)
    }


def test_a_setting_that_was_chosen_before_and_is_not_varied_keeps_its_value(suite):
    write((["optimizer=kfac"], {"optimizer.lr": 0.0625, "optimizer.damping": 0.75}))
    one, _ = suites.read("mine").problems
    runs = of_jobs(one.trials(one.search(["kfac"], {"optimizer.lr": [2, 4]})))
    assert [(run.config["optimizer"]["lr"], run.config["optimizer"]["damping"]) for run in runs] == [
        (2, 0.75),
        (4, 0.75),
    ]


def test_without_values_the_grids_of_the_experiment_are_tried():
    (problem, *_) = suites.read("digits").problems
    declared = {"sgd": 6, "kfac": 20, "hessian_free": 6}
    for name, count in declared.items():
        assert len(problem.trials(problem.search([name], {}))) == count
    assert len(problem.trials(problem.search([], {}))) == 6 + 6 + 20 + 20 + 16 + 16 + 16 + 6


def test_an_experiment_that_is_not_tuned_is_refused(suite):
    Path("conf/suite/other.yaml").write_text("problems: {a: {experiment: demo/digits}}")
    (problem,) = suites.read("other").problems
    with pytest.raises(
        UsageError, match=r"demo/digits: no hydra\.sweeper\.tune; allowed in a suite to tune on: its se"
    ):
        problem.search(["sgd"], {"optimizer.lr": [1, 2]})


# The command


@pytest.mark.parametrize(
    "words, line",
    [
        (("--suite", "minee", "sgd"), "--suite: got 'minee', allowed: digits, mine, small; did you mean 'mine'?"),
        (
            ("--suite", "mine", "mine.py:Plain"),
            "tune: no grid for mine.py:Plain on one; allowed: a setting with several",
        ),
        (
            ("suite=mine", "optimizer=sgd,mine.py:Plain", "l2=0"),
            "tune: got l2=0 alone, so that nothing varies; allowed: l2=0,VALUE,...",
        ),
        (("suite=mine", "optimizer.lr=1,2"), "tune: got optimizer.lr without an optimizer; allowed: optimizer=NAME"),
        (("suite=mine", "sgdd", "optimizer.lr=1,2"), "tune: got 'sgdd', which is no optimizer"),
        (("suite=mine", "mine.py:Plane", "optimizer.lr=1,2"), "mine.py has no 'Plane'; allowed: Plain"),
        (("suite=mine", "other.py:Plain", "optimizer.lr=1,2"), "there is no file"),
        (("suite=mine", "mine.py:Plain", "optimizer.rate=1,2"), "optimizer.rate: no such key, allowed: "),
        (("suite=mine", "mine.py:Plain", "optimizer.lr=interval(0.1,1)"), "allowed in a sweep: a list of values"),
        (("suite=mine", "sgd", "optimizer.lr=1,2", "model=mlp,linear"), "model: got 2 values, but the suite makes the"),
        (("suite=mine", "sgd", "optimizer.lr=1,2", "seed=3"), "tune: got seed=3 with a suite; allowed"),
        (("suite=mine", "sgd", "optimizer.lr=1,2", "experiment=zoo/vit"), "tune: got experiment=zoo/vit with a suite"),
        (("suite=mine", "sgd", "optimizer.lr=1,2", "hydra.sweeper.tune.metric=los"), "hydra.sweeper.tune.metric: got"),
    ],
)
def test_wrong_words_are_one_line_and_nothing_is_made(suite, words, line):
    before = sorted(suite.rglob("*"))
    refused = command("tune", *words)
    assert refused.code == 2 and line in refused.err and len(refused.errors) == 1, refused
    assert sorted(path for path in suite.rglob("*") if "__pycache__" not in path.parts) == before


def test_a_folder_that_cannot_be_written_is_refused_before_a_run(suite, monkeypatch):
    words = ("tune", "--suite", "mine", "mine.py:Plain", "optimizer.lr=1,2")
    Path("conf/tuned").write_text("")
    refused = command(*words)
    assert refused.code == 2 and f"{suite}/conf/tuned is a file; allowed: a folder" in refused.err
    Path("conf/tuned").unlink()
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != suite / "conf" and access(path, mode))
    refused = command(*words)
    assert refused.code == 2 and "suite-digits-linear.yaml cannot be written; allowed: a folder of your" in refused.err
    assert not Path("runs").exists() and not Path("conf/tuned").exists()


@pytest.mark.slow
def test_a_method_is_tuned_and_then_compared_with_its_choice(suite):
    """The best of the rates is known: of two, one hundred times the other, four steps with the larger come further."""
    words = ("mine.py:Plain", "--suite", "mine", "optimizer.lr=0.1,0.001", "optimizer.momentum=0.5")
    done = command("tune", *words, *QUIET)
    assert done.code == 0 and "4 runs: 4 done" in done.out, done
    file = Path("conf/tuned/suite-digits-linear.yaml")
    first, second = yaml.safe_load(file.read_text())
    assert first["cell"] == ["optimizer=mine.py:Plain", "budget.steps=4", "evaluate.steps=1"]
    assert second["cell"] == [*first["cell"], "validation=0.2"]
    for entry in (first, second):
        assert entry["values"] == {"optimizer.lr": 0.1, "optimizer.momentum": 0.5}
        assert entry["seeds"] == [1000] and entry["trials"] == 2 and entry["edge"] == ["optimizer.lr"]
    assert done.out.splitlines()[-1] == "used by: sobench compare adamw,mine.py:Plain --suite mine --run"
    assert chosen_for("mine.py:Plain") == [{"lr": 0.1, "momentum": 0.5, "damping": None}] * 2
    # the same again makes nothing
    text = file.read_text()
    again = command("tune", *words, *QUIET, "--json")
    assert again.code == 0 and "4 done; nothing to do" in again.err and file.read_text() == text
    told = json.loads(again.out)
    assert told["suite"] == "mine" and [problem["problem"] for problem in told["problems"]] == ["one", "two"]
    assert told["problems"][1]["choices"][0]["values"] == first["values"]
    assert told["problems"][1]["kept"] == str(file.absolute())
    # a method of the suite with another grid: its momentum, which its cell fixes
    other = command("tune", "suite=mine", "optimizer=sgd", "optimizer.momentum=0.5,0.95", *QUIET)
    assert other.code == 0, other
    momenta = {e["values"]["optimizer.momentum"] for e in yaml.safe_load(file.read_text())[2:]}
    assert {entry["momentum"] for entry in chosen_for("sgd")} == momenta <= {0.5, 0.95}
    # the comparison takes the choice and counts its trials
    compared = command("compare", "mine.py:Plain,sgd", "--suite", "mine", "--seeds", "2", "--run", *QUIET)
    assert compared.code == 0, compared
    page = Path("reports/compare/mine/report.md").read_text()
    assert "Not tuned" not in page and "| one | Plain | lr 0.1, momentum 0.5 | 2 | lr |" in page
