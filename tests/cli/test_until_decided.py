"""Seeds by need: `plan --power`, `reproduce --until-decided`, and the record that later commands heed."""

import csv
import json
import shutil
from pathlib import Path

import pytest
from harness import command, directories
from own_conf import add_to_conf
from run_tree import put, row

from sobench.config.grid import expand
from sobench.config.run import Run
from sobench.errors import Failure
from sobench.execution import attempt
from sobench.report import looks
from sobench.results.added_seeds import AddedSeeds, path_of, read

EXPERIMENT = """# @package _global_
# SGD with two learning rates, and one that is evaluated at other times
defaults:
  - override /dataset: digits
  - override /model: mlp
model: {widths: [4]}
threads: 1
budgets:
  default: {steps: 2}
  paper: {steps: 2}
hydra:
  mode: MULTIRUN
  sweeper:
    params: {seed: "range(2)"}
    tune: {seeds: [2], metric: test_loss, better: lower, grids: {sgd: {optimizer.lr: [0.1]}}}
    cells:
      - [optimizer=sgd, optimizer.lr=0.1]
      - [optimizer=sgd, optimizer.lr=0.001]
"""
TWIN = "      - [optimizer=sgd, optimizer.lr=0.1, evaluate.steps=2]\n"
REPORT = """
title: Two learning rates
source: a test
experiment: need/digits
methods:
  fast: {label: Fast, where: {optimizer.lr: 0.1, evaluate.steps: null}}
  slow: {label: Slow, where: {optimizer.lr: 0.001}}
  twin: {label: Twin, where: {optimizer.lr: 0.1, evaluate.steps: 2}}
table:
  columns: [{metric: train_loss, label: Loss, better: lower}]
claims:
"""
CLAIM = """
- id: {0}
  text: The loss is lower.
  source: a test
  test: {{kind: compare, metric: train_loss, better: lower, subject: fast, rivals: [{0}]}}
"""
PLAIN = CLAIM.format("slow")
EQUAL = CLAIM.format("twin")


@pytest.fixture
def conf(workplace, tmp_path, monkeypatch):
    """conf(*claims): the report need/digits with these claims; three looks, at 2, 3 and 5 seeds."""
    monkeypatch.setattr(looks, "LOOKS", 3)

    def add(*claims: str) -> Path:
        experiment = EXPERIMENT + TWIN * (EQUAL in claims)
        files = {"experiment/need/digits.yaml": experiment, "report/need/digits.yaml": REPORT + "".join(claims)}
        files["experiment/need/bare.yaml"] = EXPERIMENT
        add_to_conf(tmp_path / "conf", monkeypatch, files)
        return workplace

    return add


def pretended(run: Run) -> None:
    """A finished run of 100 s. The learning rate of 0.1 is better by 0.2, give or take 0.01; its twin is its equal."""
    if not run.directory("runs").exists():
        loss = 1.0 + 0.1 * run.seed + (0.2 + 0.01 * (run.seed % 3)) * (run.config["optimizer"]["lr"] < 0.1)
        put(Path("runs"), run, [row("eval", 0, train_loss=3.0), row("eval", 2, train_loss=loss)], seconds=100.0)


@pytest.fixture
def pretend(monkeypatch):
    """`sobench run` writes made-up results instead of training."""

    def run(arguments: list[str]) -> int:
        for asked in expand([argument for argument in arguments if argument != "-m"]):
            pretended(asked)
        return 0

    monkeypatch.setattr("sobench.cli.run.run", run)


def seeds(root: Path = Path("runs")) -> dict[str, list[int]]:
    """The seeds that were run, by cell."""
    found: dict[str, list[int]] = {}
    for path in directories(root):
        found.setdefault(path.parent.name, []).append(int(path.name.removeprefix("seed-")))
    return {cell: sorted(numbers) for cell, numbers in found.items()}


def claims(workplace: Path) -> dict[str, dict[str, str]]:
    (file,) = workplace.glob("reports/need/digits/*/claims.csv")
    return {row["id"]: row for row in csv.DictReader(file.read_text().splitlines())}


def rounds(out: str) -> list[str]:
    return [line for line in out.splitlines() if line.startswith("seeds by need: ")]


UNTIL = ("reproduce", "need/digits", "--until-decided", "progress=false")


def test_seeds_are_added_until_the_claims_are_answered_or_the_last_look_is_made(conf, pretend):
    folder = conf(PLAIN, EQUAL)
    made = command(*UNTIL)
    assert made.code == 0, made
    first, *_, last = rounds(made.out)
    assert (
        "0 of 2 claims answered, 2 undecided" in first
        and "next: slow at 3 seeds, 1 seed added, 2 runs to make, about 3 min" in first
    )
    assert last.endswith("stopped: no look is left for 1 claim, the last is at 5 seeds")
    # 2 is a seed of tuning; the large effect needs one look more, no effect all of them
    assert sorted(seeds().values(), key=len) == [[0, 1, 3], [0, 1, 3, 4, 5], [0, 1, 3, 4, 5]]
    found = claims(folder)
    assert (found["slow"]["verdict"], found["slow"]["n"]) == ("holds", "3")
    assert (found["twin"]["verdict"], found["twin"]["n"]) == ("undecided", "5")
    assert "alpha spending over looks at 2, 3, 5 seeds" in found["slow"]["test"]
    (origin,) = folder.glob("reports/need/digits/*/provenance.json")
    assert json.loads(origin.read_text())["looks"] == {"first": 2}
    shutil.rmtree(folder / "reports")
    assert command("report", "need/digits").code == 0 and claims(folder) == found
    shutil.rmtree(folder / "reports")
    assert command("report", "need/digits", "seed=0,1,3").code == 0  # named by hand: a fixed number
    assert claims(folder)["slow"]["test"] == "paired t-test" and claims(folder)["slow"]["n"] == "3"


def test_the_record_is_written_before_the_runs_and_an_interrupted_command_resumes(conf, monkeypatch):
    folder = conf(PLAIN)
    monkeypatch.setattr(looks, "LOOKS", 2)
    execute, calls = attempt.execute, []

    def stopped_in_the_first_round(*args):
        calls.append(1)
        if len(calls) == 6:  # 4 runs are declared, 2 are of the first round
            raise KeyboardInterrupt
        return execute(*args)

    with monkeypatch.context() as patch:
        patch.setattr(attempt, "execute", stopped_in_the_first_round)
        assert command(*UNTIL).code == 130
    (record,) = folder.glob("runs/.seeds/need/digits/*.json")
    assert list(json.loads(record.read_text())["added"].values()) == [[3], [3]]
    assert sorted(map(len, seeds().values())) == [2, 3]  # one of the two runs was made
    assert command("report", "need/digits").code == 0
    halfway = claims(folder)["slow"]
    assert halfway["n"] == "2" and "alpha spending" in halfway["test"]  # never the test of a fixed number
    assert command(*UNTIL).code == 0
    assert list(seeds().values()) == [[0, 1, 3]] * 2 and claims(folder)["slow"]["n"] == "3"


def test_a_plain_reproduce_makes_the_recorded_runs_and_no_others(conf, pretend):
    folder = conf(PLAIN)
    runs = expand(["experiment=need/digits"])
    added = {run.cell: frozenset({3}) for run in runs}
    AddedSeeds(path_of("need/digits", runs), 2, added).write()
    assert command("reproduce", "need/digits").code == 0
    assert list(seeds().values()) == [[0, 1, 3]] * 2
    assert claims(folder)["slow"]["n"] == "3" and "alpha spending" in claims(folder)["slow"]["test"]


def test_no_round_starts_that_does_not_fit_into_the_budget(conf, pretend):
    conf(EQUAL)
    made = command(*UNTIL, "--budget", "15m")  # 6 declared runs of 100 s, then 2; the next round needs 4
    assert made.code == 0 and sum(map(len, seeds().values())) == 8
    assert rounds(made.out)[-1].endswith("13 min used; stopped: no further step fits into the budget of 15 min")


def test_runs_that_are_there_already_cost_nothing(conf, pretend):
    conf(EQUAL)
    for run in expand(["experiment=need/digits", "seed=3,4"]):
        pretended(run)  # by a command of its own
    made = command(*UNTIL, "--budget", "15m")  # 6 declared runs of 100 s; the seed 5 needs 2 more
    first, second, last = rounds(made.out)
    assert "10 min used; next: twin at 3 seeds, 1 seed added, 0 runs to make, about 0 s" in first
    assert "10 min used; next: twin at 5 seeds, 2 seeds added, 2 runs to make, about 3 min" in second
    assert "13 min used; stopped: no look is left for 1 claim" in last
    assert list(seeds().values()).count([0, 1, 3, 4, 5]) == 2


def test_the_plan_lists_what_each_claim_needs_the_cheapest_first(conf):
    folder = conf(PLAIN, EQUAL)
    assert command("plan", "need/digits", "--power").out.splitlines() == [
        "0 claims to decide",
        "2 claims that seeds cannot decide: 2 not run",
    ]
    for run in expand(["experiment=need/digits"]):
        pretended(run)
    files = sorted(folder.rglob("*"))
    head, slow, twin, total, note = command("plan", "need/digits", "--power").out.splitlines()
    assert head.split() == ["claim", "now", "n", "needed", "runs", "time"]
    # differences -0.2 and -0.21: 15 times their spread; three seeds of two cells, each run of 100 s
    assert slow.split() == ["slow", "holds", "2", "3", "seeds", "2", "3", "min"]
    assert twin == "twin: needs more seeds than the 5 of the last look"
    assert total.startswith("2 claims to decide; 1 of them by 2 runs, 3 min run sequentially")
    assert note.startswith("now: 1 claim is answered with a fixed number of seeds")
    assert [path for path in sorted(folder.rglob("*")) if ".cache" not in str(path)] == [
        path for path in files if ".cache" not in str(path)
    ]


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["reproduce", "need/digits", "--budget", "4h"], ["--budget: got '4h' alone", "--until-decided"]),
        ([*UNTIL, "--budget", "4x"], ["--budget: got '4x', allowed: a duration above 0"]),
        ([*UNTIL, "seed=0,1,2"], ["--until-decided: got seed=0,1,2, which fixes the seeds"]),
        ([*UNTIL, "hydra.sweeper.jobs=a.json"], ["--until-decided: got hydra.sweeper.jobs=a.json"]),
        (["reproduce", "demo/digits", "--until-decided"], ["--until-decided: got demo/digits, which has no claims"]),
        (["plan", "need/digits", "--power", "seed=0"], ["plan --power: got seed=0"]),
        (["plan", "need/digits", "--power", "--budget", "4h"], ["plan --power: got --budget", "--until-decided"]),
        (["plan", "need/bare", "--power"], ["plan --power: got the experiment 'need/bare', allowed: a report"]),
        (["plan", "nothing/here", "--power"], ["report: got 'nothing/here'"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_input_is_refused_in_one_line(conf, words, parts):
    folder = conf(PLAIN)
    refused = command(*words)
    assert refused.code == 2 and len(refused.errors) == 1, refused
    assert all(part in refused.errors[0] for part in parts), refused.errors
    assert not list(folder.iterdir())


def test_a_damaged_record_is_an_error_and_not_a_fixed_number_of_seeds(conf):
    conf(PLAIN)
    record = path_of("need/digits", expand(["experiment=need/digits"]))
    record.parent.mkdir(parents=True)
    for text in ("[]", '{"first": 2, "added": {"cell": 3}}', "{"):
        record.write_text(text)
        with pytest.raises(Failure, match="which names the seeds that were added by need: it is damaged"):
            read(record)
    damaged = command("report", "need/digits")
    assert damaged.code == 1 and len(damaged.errors) == 1 and f"cannot read {record}" in damaged.errors[0]


def test_settings_that_change_no_run_find_the_same_record(conf):
    conf(PLAIN)
    runs = expand(["experiment=need/digits"])
    elsewhere = ["threads=2", "progress=false", "hydra/launcher=joblib", "timeout=60"]
    record = path_of("need/digits", runs)
    assert path_of("need/digits", expand(["experiment=need/digits", *elsewhere])) == record
    assert path_of("need/digits", runs[1:]) != record
