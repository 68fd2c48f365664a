"""`sobench plan`: measures real steps, writes nothing, and selects a balanced part of a sweep for a budget."""

import re
import shlex
from dataclasses import dataclass

import pytest
from harness import PRELOAD, command, directories
from hypothesis import given
from hypothesis import strategies as st

from sobench.cli.plan import Cell, Measured, _steps_of_run, _steps_to_measure, fitting, measure, plan_table, total
from sobench.config.grid import expand

DEMO = ("demo/digits", "budget=smoke", "optimizer=sgd,adam", "seed=0,1", "threads=1")


@pytest.fixture(autouse=True)
def one_server(monkeypatch):
    """Use the fork server of all tests."""
    monkeypatch.setattr("sobench.cli.plan.PRELOAD", PRELOAD)


BROKEN = """import os
import torch


class Broken(torch.optim.SGD):
    requires = frozenset({{"closure"}})  # no rehearsal

    def step(self, closure=None):
        {}
"""


@dataclass(frozen=True)
class Stub:
    id: str
    seed: int


def a_cell(name: str, seconds: float | None, seeds: int = 3, done: int = 0) -> Cell:
    runs = [Stub(f"{name}{seed}", seed) for seed in range(seeds)]
    cost = "it broke" if seconds is None else Measured(0.0, 0.0, 0.0, seconds, 1, 0, 1000, None)
    return Cell(name, runs[:done], runs[done:], cost)


def ids(chosen) -> str:
    return " ".join(run.id for run in chosen)


def test_every_cell_gets_its_first_seed_before_any_its_second_the_cheapest_first():
    cells = [a_cell("slow", 5), a_cell("quick", 1), a_cell("middle", 2)]
    assert ids(fitting(24, cells)) == "quick0 middle0 slow0 quick1 middle1 slow1 quick2 middle2 slow2"
    assert ids(fitting(11, cells)) == "quick0 middle0 slow0 quick1 middle1"
    assert ids(fitting(8, cells)) == "quick0 middle0 slow0"  # no second seed before slow has its first
    assert ids(fitting(7, cells)) == "quick0 middle0 quick1 middle1 quick2"  # slow does not fit: the rest is not wasted
    assert ids(fitting(0.5, cells)) == ""


@given(
    st.lists(st.tuples(st.integers(1, 20), st.integers(1, 4), st.integers(0, 4)), min_size=1, max_size=5),
    st.integers(1, 60),
)
def test_no_run_that_is_left_out_fits_into_the_rest_and_the_first_seeds_come_first(sizes, limit):
    cells = [a_cell(f"c{i}-", seconds, seeds, min(done, seeds)) for i, (seconds, seeds, done) in enumerate(sizes)]
    chosen = {run.id for run in fitting(limit, cells)}
    rest = limit - sum(cell.measured.seconds for cell in cells for run in cell.left if run.id in chosen)
    assert rest >= 0
    for cell in cells:
        taken = [run.id in chosen for run in cell.left]
        assert taken == sorted(taken, reverse=True)  # the first seeds
        assert all(taken) or cell.measured.seconds > rest


def test_what_is_done_counts_and_what_was_not_measured_has_none():
    cells = [a_cell("ahead", 1, done=2), a_cell("behind", 3), a_cell("unknown", None)]
    assert ids(fitting(10, cells)) == "behind0 behind1 ahead2 behind2"
    assert total(cells) == (
        "3 cells, 9 runs: 2 done, 7 left, 10 s run sequentially, at most 0 MB; 3 of them not measured and not included"
    )


def test_what_a_run_takes():
    cost = Measured(first=2.0, step=0.5, evaluation=0.25, start=1.0, steps=11, evaluations=4, host=1, device=None)
    assert cost.seconds == 1 + 2 + 10 * 0.5 + 4 * 0.25
    assert (
        _steps_of_run(100, None, 0.1) == 100
        and _steps_of_run(100, 1.0, 0.1) == 10
        and _steps_of_run(None, 1.0, 5.0) == 1
    )
    assert (
        _steps_to_measure({"lr": 0.1}) == 6
        and _steps_to_measure({"stats_period": 2, "inverse_period": 20}) == 21
        and _steps_to_measure({"global_period": 999}) == 51
    )


def test_the_plan_of_an_experiment_leaves_nothing_behind_and_its_command_makes_what_it_says(workplace):
    planned = command("plan", *DEMO)
    assert planned.code == 0 and not list(workplace.iterdir())
    assert re.fullmatch(r"(timing a few steps: \d of 2, digits_mlp_\w+\n){2}", planned.err)
    head, sgd, adam, last = planned.out.splitlines()
    assert head.split()[:4] == ["cell", "runs", "done", "left"] and re.match(r"digits_mlp_sgd_\w{12} +2 +0 +2 ", sgd)
    assert re.fullmatch(r"2 cells, 4 runs: 0 done, 4 left, .* run sequentially, at most [\d,]+ MB", last)
    assert 50 < int(re.search(r"at most ([\d,]+) MB", last)[1].replace(",", "")) < 50_000


def test_a_budget_chooses_runs_and_the_printed_command_makes_exactly_them(workplace, monkeypatch):
    costs = {"sgd": 1.0, "adam": 10.0}
    monkeypatch.setattr(
        "sobench.cli.plan.measure", lambda run: Measured(0, 0, 0, costs[run.label("optimizer")], 1, 0, 1, None)
    )
    *_, within, left_out, say = command("plan", DEMO[0], "--budget", "15s", *DEMO[1:]).out.splitlines()
    assert within == "within 15 s: 3 runs, 12 s" and re.fullmatch(r"left out: digits_mlp_adam_\w{12}: seed 1", left_out)
    words = shlex.split(say.removeprefix("run them with: "))
    assert words[:3] == ["sobench", "run", "-m"]
    made = command(*words[1:])
    assert made.code == 0 and made.out.splitlines()[-1] == "3 runs: 3 done"
    assert [path.name for path in directories()] == ["seed-0", "seed-0", "seed-1"]
    whole = command("plan", *DEMO, "--budget", "1h").out.splitlines()
    assert whole[3] == "2 cells, 4 runs: 3 done, 1 left, 10 s run sequentially, at most 0 MB"
    assert (
        whole[-1]
        == "run them with: sobench run experiment=demo/digits budget=smoke optimizer=sgd,adam seed=0,1 threads=1"
    )
    assert command("plan", *DEMO, "--budget", "1s").out.splitlines()[-2] == "within 1 s: no run"


@pytest.mark.parametrize(
    "body, part",
    [
        ("raise RuntimeError('not today')", "RuntimeError: not today"),
        ("os._exit(3)", "its process ended with exit code 3: killed, or out of memory"),
    ],
)
def test_a_cell_that_cannot_be_measured_is_said(workplace, plugins, body, part):
    plugins("broken-one", {"broken_one.py": BROKEN.format(body)}, {"broken_one": "broken_one:Broken"})
    (run,) = expand(["optimizer=broken_one", "optimizer.lr=0.1", "budget=smoke", "threads=1"])
    cell = Cell("c", [], [run], measure(run))
    assert cell.cost == part and plan_table([cell])[-1] == f"    not measured: {part}"


@pytest.mark.parametrize(
    "words, part",
    [
        (["plan", "demo/digits", "--budget", "4x"], "--budget: got '4x', allowed: a duration above 0"),
        (["plan", "demo/digits", "--budget", "0h"], "--budget: got '0h', allowed: a duration above 0"),
        (["plan", "nonsense"], "experiment: got 'nonsense'"),
        (["plan", "demo/digits", "nonsense"], "nonsense: not a setting; allowed: KEY=VALUE"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_is_one_line(workplace, words, part):
    wrong = command(*words)
    assert wrong.code == 2 and len(wrong.errors) == 1 and part in wrong.errors[0] and not list(workplace.iterdir())
