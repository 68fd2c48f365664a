"""`sobench reproduce all`: seeds in layers, the cheapest claims first, within the time, and the page at the end."""

from __future__ import annotations

import math
import time
from types import SimpleNamespace

import pytest
from run_tree import a_run

from sobench.cli import reproduce_all
from sobench.cli.main import main
from sobench.cli.plan import Measured
from sobench.cli.reproduce_all import GUESS, Layer, Prices, in_order, layers_of
from sobench.errors import Failure


def run(cell, seed):
    return SimpleNamespace(
        cell=cell, seed=seed, id=f"{cell}-{seed}", slug=f"{cell}/seed-{seed}", settings={"model.name": cell}
    )


@pytest.fixture
def nothing_done(monkeypatch):
    monkeypatch.setattr(reproduce_all, "has_result", lambda run: False)


def names(layers):
    return [(layer.report, layer.number) for layer in layers]


class Known(Prices):
    """Prices that are found out as in the table, and the order in which they were."""

    def __init__(self, table):
        super().__init__(root=None)
        self.table, self.asked = table, []

    def learn(self, run):
        self.asked += [run.cell] * (run.cell not in self.known)
        self.known[run.cell] = self.table[run.cell]


def test_a_layer_has_the_next_seed_of_every_cell(nothing_done):
    runs = [run("a", 0), run("a", 1), run("b", 5), run("c", 0), run("a", 2)]
    layers = list(layers_of("practical/table-2", runs, lambda run: run.cell != "c"))
    assert [[r.id for r in layer.runs] for layer in layers] == [["a-0", "b-5"], ["a-1"], ["a-2"]]
    assert {layer.claims for layer in layers} == {4}


def test_first_seeds_come_first_and_the_cheapest_claims_among_them(nothing_done):
    prices = Known({"dear": 100.0, "cheap": 50.0, "many": 120.0})
    layers = [
        Layer("dear", 1, (run("dear", 0),), claims=1),
        Layer("cheap", 1, (run("cheap", 0),), claims=1),
        Layer("cheap", 2, (run("cheap", 1),), claims=1),
        Layer("many", 1, (run("many", 0),), claims=4),
        Layer("none", 1, (run("cheap", 7),), claims=0),
    ]
    order = names(in_order(layers, prices))
    assert order[-1] == ("cheap", 2)
    assert order[:-1] == [("many", 1), ("cheap", 1), ("dear", 1), ("none", 1)]  # 30, 50, 100 and 100 s a claim


def test_what_is_cheaper_than_the_guess_runs_before_more_is_measured(nothing_done):
    prices = Known({"a": GUESS / 2, "b": 1.0})
    layers = [Layer("two", 1, (run("b", 0), run("b", 1)), claims=1), Layer("one", 1, (run("a", 0),), claims=1)]
    first = next(in_order(layers, prices))
    assert first.report == "one"
    assert prices.asked == ["a"]


def test_cells_that_differ_in_real_numbers_share_an_estimate(tmp_path, monkeypatch, capsys):
    steps = iter([Measured(*[0.1] * 4, steps=6, evaluations=2, host=0, device=None), "no answer within 1 s"])
    monkeypatch.setattr(reproduce_all, "measure", lambda run, patience: next(steps))
    alike = [a_run("kfac"), a_run("kfac", lr=0.01), a_run("kfac", lr=1, damping=30, runs="elsewhere")]
    prices, other = Prices(tmp_path), [a_run("kfac", widths=(20,)), a_run("kfac", widths=(20,), lr=0.01)]
    for run in [*alike, *other]:
        prices.learn(run)
    assert {prices.known[run.cell] for run in alike} == {prices.of(alike[0])} and len(prices.known) == 3
    assert [prices.of(run) for run in other] == [0.0, 0.0]
    assert capsys.readouterr().out.count("timing a few steps: mnist_mlp_kfac_") == 2
    again = Prices(tmp_path)
    again.learn(alike[1])
    assert again.known == {alike[1].cell: prices.of(alike[1])}


def test_nothing_is_measured_after_the_end(tmp_path, monkeypatch):
    monkeypatch.setattr(reproduce_all, "measure", lambda *_: pytest.fail("measured"))
    prices = Prices(tmp_path, end=time.monotonic() - 1)
    prices.learn(run("a", 0))
    assert not prices.known and not prices.unknown


@pytest.fixture
def small(monkeypatch, tmp_path):
    """Two reports in an empty folder; the runs of one have no data, those of the other are estimated to take 0.8 s."""
    monkeypatch.chdir(tmp_path)

    def prepare_data(runs):
        if runs[0].config["dataset"]["name"] == "libsvm":
            raise Failure("libsvm-usps: cannot get usps.bz2")

    monkeypatch.setattr("sobench.execution.task.prepare_data", prepare_data)
    monkeypatch.setattr("sobench.report.reports", lambda: ["csfd/fig-1", "demo/digits", "kernelsgd/theorem-3.1"])
    measured = Measured(0.2, 0.2, 0.2, 0.2, steps=6, evaluations=2, host=0, device=None)
    calls = []
    monkeypatch.setattr(reproduce_all, "measure", lambda run, patience: calls.append(run.cell) or measured)
    return calls


COMMAND = ["reproduce", "all", "budget=smoke", "seed=0,1", "progress=false"]


def test_it_makes_reports_and_lists_what_is_missing_and_goes_on(small, tmp_path, capsys):
    assert main([*COMMAND, "--budget", "1s"]) == 0
    said = capsys.readouterr().out
    assert "all: left out: runs without their data: libsvm-usps" in said
    assert "all: 1 artifact, 2 runs left to make" in said
    assert "all: within 1 s: 2 runs left" in said and not (tmp_path / "reports").exists()
    assert main([*COMMAND, "--budget", "10m"]) == 0
    said = capsys.readouterr().out
    assert "csfd/fig-1, seed 2 of each cell: 1 run" in said
    assert "within 10 min: 0 runs left" in said
    assert small == small[:1]  # the estimate is kept
    assert "csfd/fig-1/smoke,seed=0,1/report.md" in (tmp_path / "reports" / "README.md").read_text()
    assert main([*COMMAND]) == 0
    assert "0 runs left to make" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words, answer",
    [
        (["--until-decided"], "reproduce all: got --until-decided, allowed: one artifact with it"),
        (["--budget", "soon"], "--budget: got 'soon'"),
        (["dataset=usps"], "no artifact has runs with these settings"),
    ],
)
def test_a_wrong_command_is_answered_in_one_line(small, words, answer, capsys):
    assert main([*COMMAND, *words]) != 0
    assert answer in capsys.readouterr().err


def test_without_a_limit_everything_fits():
    assert Prices(root=None).end == math.inf
