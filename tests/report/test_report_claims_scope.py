"""The scope of a claim: runs that stopped before it give a reading and no verdict."""

import math

import pytest
from judging import verdict_on
from run_tree import a_run, evals, put

from sobench.errors import UsageError
from sobench.report import table
from sobench.report.claims import judge
from sobench.report.evidence import Evidence
from sobench.report.schema.references import check_references
from sobench.report.schema.spec import Claim, Column, Method, Reach, Report, Table, Test
from sobench.report.scope import paper_limits, reached
from sobench.results.collection import collect
from sobench.results.state import State

METHODS = {name: Method(name, {"optimizer": name}) for name in ("a", "b")}
PAPER = {"paper": {"epochs": 7}}


def runs_of(root, epochs: int, seeds: int = 3, last: dict[str, float] | None = None, **settings):
    """Runs of a and b over so many epochs; at the end the loss of a is the lower one by 1 + seed / 10."""
    runs = [a_run(name, seed, **({"budgets": PAPER} | settings)) for name in METHODS for seed in range(seeds)]
    for run in runs:
        end = 1.0 if run.config["optimizer"]["name"] == "a" else 2.0 + run.seed / 10
        put(root, run, evals("train_loss", *[3.0] * epochs, end), state_bytes=100 if end == 1.0 else 200)
    return runs


def compare(runs, root, **test):
    return verdict_on(
        runs, root, METHODS, **({"kind": "compare", "metric": "train_loss", "subject": "a", "rivals": ["b"]} | test)
    )


def test_an_outcome_is_judged_at_the_papers_budget_and_read_below_it(tmp_path):
    assert compare(runs_of(tmp_path / "7", 7), tmp_path / "7").verdict == "holds"
    below = compare(runs_of(tmp_path / "1", 1), tmp_path / "1")
    assert below.verdict == "not judged" and below.reason == "a, b: made 1 epoch, budget=paper asks for 7 epochs"
    assert below.reading.startswith("at 1 epoch: as claimed (p = ") and below.reading.endswith(
        "n = 3); budget=paper: 7 epochs"
    )
    assert math.isnan(below.p) and math.isnan(below.effect)
    turned = compare(runs_of(tmp_path / "2", 1), tmp_path / "2", better="higher")
    assert turned.verdict == "not judged" and ": the opposite (" in turned.reading


def test_unequal_epochs_do_not_excuse_a_run_from_the_scope(tmp_path):
    found = compare(runs_of(tmp_path, 1), tmp_path, budgets="any")
    assert found.verdict == "not judged"


def test_a_cost_is_judged_at_any_budget(tmp_path):
    runs = runs_of(tmp_path, 1)
    assert compare(runs, tmp_path, metric="state_bytes").verdict == "holds"
    assert compare(runs, tmp_path, metric=["state_bytes", "train_loss"]).verdict == "not judged"


@pytest.mark.parametrize(
    ("budget", "reason"),
    [
        ({"name": "smoke"}, "budget=smoke only checks that runs work"),
        ({"name": "paper", "samples": 1000}, "the runs use at most 1,000 samples of each set"),
    ],
)
def test_neither_a_smoke_nor_a_part_of_the_data_is_evidence(tmp_path, budget, reason):
    runs = runs_of(tmp_path, 7, budget=budget)
    for test in ({}, {"metric": "state_bytes"}, {"better": "higher"}):
        found = compare(runs, tmp_path, **test)
        assert (found.verdict, found.reason, found.reading) == ("not judged", reason, "")
        assert math.isnan(found.p) and math.isnan(found.effect)


def test_a_place_is_the_scope_of_a_value_taken_there(tmp_path):
    runs = runs_of(tmp_path, 3)
    assert compare(runs, tmp_path, at={"epoch": 3}).verdict == "holds"
    assert "the claim asks for 5 epochs" in compare(runs, tmp_path, at={"epoch": 5}).reason


def test_a_claim_may_name_its_scope_but_no_outcome_is_of_any_budget(tmp_path):
    runs = runs_of(tmp_path, 3)
    test = Test(kind="compare", metric="train_loss", better="lower", subject="a", rivals=["b"])
    for scope, verdict in (({"epoch": 3}, "holds"), ({"step": 31}, "not judged"), ("paper", "not judged")):
        report = Report("t", "s", "e", METHODS, claims=[Claim("c", "t", "s", test, scope=scope)], id="p/x", file="f")
        check_references(report)
        assert judge(Evidence(report, collect(runs, tmp_path)))[0].verdict == verdict
    report = Report("t", "s", "e", METHODS, claims=[Claim("c", "t", "s", test, scope="any")], id="p/x", file="f")
    with pytest.raises(UsageError, match=r"claims\[0\].scope: got 'any'.*train_loss depends on the budget"):
        check_references(report)


def test_without_a_budget_of_the_paper_an_outcome_is_not_judged(tmp_path):
    found = compare(runs_of(tmp_path, 7, budgets={}), tmp_path)
    assert found.verdict == "not judged" and "no budget of that name" in found.reason


def test_the_limits_of_the_paper_are_those_of_the_cell():
    run = a_run("a", budgets={"paper": {"seconds": 500, "long_seconds": 2000}})
    assert paper_limits(run) == {"seconds": 500}
    long = type(run)(run.config, run.cell, 0, ("budget=cpu", "budget.seconds=${budget.long_seconds}"))
    assert paper_limits(long) == {"seconds": 2000}
    by_hand = type(run)(run.config, run.cell, 0, ("budget.seconds=3",))
    assert paper_limits(by_hand) == {"seconds": 2000}


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (State("done", step=70, epoch=7.0, seconds=1.0), True),
        (State("done", step=69, epoch=6.9, seconds=1.0), False),
        (State("done", step=5, epoch=0.5, seconds=60.0), True),  # the first limit ends a run
        (State("done", step=5, epoch=0.5, seconds=1.0, summary={"converged": True}), True),
        (State("diverged", step=5, epoch=0.5, seconds=1.0), True),
    ],
)
def test_a_run_reached_the_paper_at_the_first_of_its_limits(state, expected):
    assert reached(a_run("a", budgets={"paper": {"epochs": 7, "seconds": 60}}), state, "paper") is expected


def test_a_time_to_a_level_counts_once_the_level_is_reached(tmp_path):
    runs = [a_run(name, seed, budgets=PAPER) for name in METHODS for seed in range(3)]
    for run in runs:
        slow = 1 + run.seed if run.config["optimizer"]["name"] == "b" else 0
        put(tmp_path / "1", run, evals("train_loss", 3.0, *[2.0] * slow, *[1.0] * (4 - slow)))
        put(tmp_path / "2", run, evals("train_loss", 3.0, *[2.0 if slow else 1.0] * 4))
    level = {"metric": "seconds", "reach": Reach("train_loss", at_most=1.0)}
    assert compare(runs, tmp_path / "1", **level).verdict != "not judged"
    assert compare(runs, tmp_path / "2", **level).verdict == "not judged"  # b might still reach it


def converging(root, ended: dict[str, list[bool]]):
    """Runs that end when they converge, or are ended by the budget, after 20 steps (2 s) and more."""
    runs = [
        a_run(name, seed, convergence={"change": 1e-4, "evaluations": 3})
        for name, seeds in ended.items()
        for seed in range(len(seeds))
    ]
    for run in runs:
        name = run.config["optimizer"]["name"]
        rows = evals("train_loss", 3.0, *[1.0] * (2 + run.seed + (name == "b")))
        put(root, run, rows, converged=ended[name][run.seed])
    return runs


TIME = {"metric": "seconds", "budgets": "any"}


def test_a_convergence_time_is_that_of_runs_that_converged(tmp_path):
    whole = converging(tmp_path / "1", {"a": [True] * 3, "b": [True] * 3})
    assert compare(whole, tmp_path / "1", **TIME).verdict == "undecided"  # a second in each of three seeds: 2^-3
    runs = converging(tmp_path / "2", {"a": [True] * 3, "b": [True, False, False]})
    column = Column("seconds", "Time", better="lower")
    report = Report("t", "s", "e", METHODS, table=Table([column]), budgets="any", id="p/x", file="f")
    a, b = (row.cells[0] for row in table.contents(Evidence(report, collect(runs, tmp_path / "2"))).rows)
    assert (a.ours.mean, a.ours.gap, b.ours.mean) == (pytest.approx(3.0), "", pytest.approx(3.0))
    assert b.ours.gap == "> 4 s, not converged 2/3" and b.rank is None


@pytest.mark.parametrize("rank", [1, -1])
def test_a_run_that_did_not_converge_is_slower_than_one_that_did_in_less_time(tmp_path, rank):
    """Every b was given a second more than the a of its seed. So a is faster on each of n seeds: p = 2 x 2^-n."""
    who = {"subject": "a", "rivals": ["b"]} if rank == 1 else {"subject": "b", "rivals": ["a"]}
    for seeds, answer in ((6, "holds" if rank == 1 else "fails"), (5, "undecided")):
        root = tmp_path / str(seeds)
        runs = converging(root, {"a": [True] * seeds, "b": [True, *[False] * (seeds - 1)]})
        found = compare(runs, root, **TIME, **who)
        assert (found.verdict, found.test.partition(";")[0]) == (answer, "exact sign test")
        p = "1" if rank == -1 else f"{2.0**-seeds:.3g}"
        assert f"mean difference unbounded, p = {p}, " in str(found.details[0])
        turned = compare(runs, root, **TIME, **who, better="higher")
        assert turned.verdict == {"holds": "fails", "fails": "holds"}.get(answer, answer)


@pytest.mark.parametrize(
    ("ended", "kind", "reason"),
    [
        ({"a": [True, True, False], "b": [True] * 3}, {}, "a: not every run converged"),  # b took longer than a had
        ({"a": [True, False, True], "b": [True, False, True]}, {}, "a, b: not every run converged"),
        ({"a": [True] * 3, "b": [True, False, True]}, {"kind": "ratio", "at_most": 0.9}, "b: not every run converged"),
        (
            {"a": [True] * 3, "b": [True, False, True]},
            {"kind": "bound", "subject": "b", "rivals": [], "at_most": 9.0},
            "b: not every run converged",
        ),
    ],
)
def test_a_time_that_is_not_known_is_not_judged(tmp_path, ended, kind, reason):
    found = compare(converging(tmp_path, ended), tmp_path, **(TIME | kind))
    assert (found.verdict, found.reason) == ("not judged", reason)


def test_the_order_of_three_methods_needs_each_pair(tmp_path):
    """c did not converge in as much time as b took, though it had more than a took."""
    methods = {name: Method(name, {"optimizer": name}) for name in ("a", "b", "c")}
    runs = converging(tmp_path, {"a": [True] * 6, "b": [True] * 6, "c": [False] * 6})
    of_a = {"kind": "compare", "subject": "a", **TIME}
    assert verdict_on(runs, tmp_path, methods, rivals=["b", "c"], **of_a).verdict == "holds"
    of_c = {"kind": "compare", "subject": "c", **TIME}
    assert verdict_on(runs, tmp_path, methods, rivals=["a"], **of_c).verdict == "fails"
    open_ = verdict_on(runs, tmp_path, methods, rivals=["b"], **of_c)
    assert (open_.verdict, open_.reason) == ("not judged", "c: not every run converged")


def test_a_look_alike_is_not_judged(tmp_path):
    found = compare(runs_of(tmp_path, 7, dataset="faces_synthetic"), tmp_path)
    assert (found.verdict, found.reason) == ("not judged", "faces_synthetic stands in for the data of the paper")
    assert found.reading.startswith("on faces_synthetic: as claimed (")


def test_a_claim_without_runs_is_not_run(tmp_path):
    runs = runs_of(tmp_path, 7)
    absent = [*runs[:3], *(a_run("b", seed, lr=9.0, budgets=PAPER) for seed in range(3))]
    found = compare(absent, tmp_path)
    assert (found.verdict, found.reason, found.n, found.expected) == ("not run", "no finished run of b", 0, 3)
    elsewhere = compare(runs, tmp_path, where={"dataset": ["mnist", "usps"], "batch_size": 100})
    assert elsewhere.verdict == "not run"
    assert elsewhere.reason == "no finished run of a, b with dataset=mnist or usps, batch_size=100"
