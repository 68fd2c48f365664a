"""`sobench bench cells`: the cost of a step of each cell, kept with the runs, and `cost` as an axis of reports."""

import json
import math
from pathlib import Path

import pytest
from harness import command
from run_tree import a_run, evals, put

from sobench.cli.bench import cells
from sobench.config.grid import expand
from sobench.report.columns import of as columns_of
from sobench.report.schema.spec import Column, Method, Report, Table
from sobench.results import step_costs
from sobench.results.collection import collect
from sobench.results.pick import pick, reach

ENVIRONMENT = {"device_name": "a processor", "threads": 1}


class Steps:
    """Stands in for an optimizer in training: the steps it was asked for; each `period`-th takes 10 s, others 1 s."""

    def __init__(self, period=1):
        self.period, self.done = period, 0

    def seconds(self, steps):
        self.done += steps
        return sum(10.0 if step % self.period == 0 else 1.0 for step in range(self.done - steps + 1, self.done + 1))


@pytest.mark.parametrize("period, expected", [(1, 1.0), (2, 5.5 / 10), (5, 14 / 50)])
def test_a_round_is_a_whole_period(monkeypatch, period, expected):
    monkeypatch.setattr(cells, "STEPS", 0)
    pairs = cells.measure(Steps(period), Steps(), period)
    assert len(pairs) == cells.ROUNDS and [a / b for a, b in pairs] == pytest.approx([expected] * cells.ROUNDS)


def test_slow_and_fast_steps_take_turns_in_blocks(monkeypatch):
    monkeypatch.setattr(cells, "STEPS", 0)
    asked = []

    class Timed:
        def __init__(self, name, step):
            self.name, self.step = name, step

        def seconds(self, steps):
            asked.append((self.name, steps))
            return self.step * steps

    ((a, b), *_) = cells.measure(Timed("cell", 0.01), Timed("sgd", 0.001), 3)
    assert (a, b) == (pytest.approx(0.01), pytest.approx(0.001))
    assert asked[2:6] == [("cell", 2), ("sgd", 20), ("cell", 1), ("sgd", 20)]  # a period of 3 in blocks of 20 ms


def test_the_measured_steps_do_not_depend_on_the_speed_of_the_machine(monkeypatch):
    monkeypatch.setattr(cells, "STEPS", 50)

    def measured(slower):
        monkeypatch.setattr(cells, "SECONDS", 1e9)
        cell, sgd = Steps(5), Steps()
        cell.seconds = lambda steps, seconds=cell.seconds: slower * seconds(steps)
        sgd.seconds = lambda steps, seconds=sgd.seconds: slower * seconds(steps)
        return [a / b for a, b in cells.measure(cell, sgd, 5)], cell.done

    (ratios, done), (same, as_many) = measured(1.0), measured(4.0)
    assert ratios == same and done == as_many == 5 + 50


def test_a_cell_has_one_file_whatever_its_budget():
    one, other = expand(["budget.steps=2", "log.every=3"]), expand(["optimizer.lr=0.01"])
    default, seed, part = expand([]), expand(["seed=1"]), expand(["budget.samples=10"])
    paths = [step_costs.path("runs", run.config) for (run,) in (default, one, seed, other, part)]
    assert paths[0] == paths[1] == paths[2] and len({*paths}) == 3  # a step may be of the whole training set


def test_costs_are_kept_by_machine(tmp_path):
    file = tmp_path / "a" / "x.json"
    assert step_costs.read(file) == {}
    step_costs.keep(file, "one", {"ratio": 2.0})
    step_costs.keep(file, "two", {"ratio": 3.0})
    step_costs.keep(file, "one", {"ratio": 4.0})
    assert step_costs.read(file) == {"one": {"ratio": 4.0}, "two": {"ratio": 3.0}}
    file.write_text("{")
    assert step_costs.read(file) == {}


def _tree(root, monkeypatch):
    """An SGD run whose step costs 2, a Newton run on the machine where it costs 5, and one where it is not known."""
    monkeypatch.setattr(step_costs, "identity", lambda settings: {"optimizer": settings["optimizer"]})
    runs = [a_run("sgd"), a_run("newton"), a_run("newton", 1)]
    machines = [ENVIRONMENT, ENVIRONMENT, ENVIRONMENT | {"threads": 2}]
    for run, environment in zip(runs, machines):
        directory = put(root, run, evals("test_accuracy", 0.1, 0.5, 0.9))  # at steps 0, 10, 20
        (directory / "environment.json").write_text(json.dumps(environment))
    for run, ratio in zip(runs, (2.0, 5.0)):
        step_costs.keep(step_costs.path(root, run.config), step_costs.machine(ENVIRONMENT), {"ratio": ratio})
    return runs


def test_cost_is_an_axis(tmp_path, monkeypatch):
    runs = sgd, newton, _ = _tree(tmp_path, monkeypatch)
    table = collect(runs, tmp_path).table

    def values(series):
        return [series.get(run.id) for run in runs]

    assert values(pick(table, "cost")) == [40.0, 100.0, pytest.approx(float("nan"), nan_ok=True)]
    at = pick(table, "test_accuracy", at={"cost": 55.0})  # SGD ended at 40
    assert sgd.id not in at and at[newton.id] == 0.5
    assert reach(table, "cost", "test_accuracy", at_least=0.5)[newton.id] == 50.0
    assert pick(table, "step_cost")[sgd.id] == 2.0


def test_cost_with_warm_start_is_an_axis(tmp_path, monkeypatch):
    sgd, newton, other = runs = _tree(tmp_path, monkeypatch)
    assert "total_cost" not in collect(runs, tmp_path).table
    assert pick(collect(runs, tmp_path).table, "total_cost").isna().all()  # a file of an earlier version
    place = step_costs.path(tmp_path, newton.config), step_costs.machine(ENVIRONMENT)
    step_costs.keep(*place, {"ratio": 5.0, "warm_start": 30.0})
    table = collect(runs, tmp_path).table
    cost = pick(table, "total_cost")
    assert cost[newton.id] == 20 * 5 + 30 and math.isnan(cost[sgd.id]) and other.id not in cost.dropna()
    assert pick(table, "cost")[newton.id] == 100 and pick(table, "warm_start_cost")[newton.id] == 30
    assert reach(table, "total_cost", "test_accuracy", at_least=0.5)[newton.id] == 80.0


def test_only_a_report_by_cost_asks_for_the_measurement(tmp_path, monkeypatch, capsys):
    runs = _tree(tmp_path, monkeypatch)

    def told(*columns):
        report = Report("t", "s", "e", {"sgd": Method("sgd", {})}, table=Table(list(columns)), file="p/x.yaml")
        collect(runs, tmp_path, columns_of(report))
        return capsys.readouterr().err

    assert told(Column("test_accuracy", "a"), Column("seconds", "s")) == ""
    assert "cost: not known of 2 cells on" in told(Column("test_accuracy", "a", at={"total_cost": 5.0}))
    assert told(Column("test_accuracy", "a", at={"cost": 5.0})) == (
        "sobench: warning: cost: not known of 1 cell on a processor, 2 threads; to measure it there: "
        "sobench bench cells EXPERIMENT threads=2\n"
    )


def test_the_command_measures_what_is_missing(workplace, monkeypatch):
    monkeypatch.setattr(cells, "STEPS", 0)
    monkeypatch.setattr(cells, "BLOCK", 0.001)
    words = ["bench", "cells", "practical/table-3", "dataset=digits", "optimizer=sgd", "budget=smoke", "threads=1"]
    first = command(*words)
    assert (first.code, first.err) == (0, ""), first
    assert " ms over " in first.out and "3 rounds" in first.out
    (file,) = (workplace / "runs" / ".costs").glob("*.json")
    ((_, cost),) = step_costs.read(file).items()
    assert 0 < cost["lowest"] <= cost["ratio"] <= cost["highest"] and cost["threads"] == 1
    again = command(*words, "budget.steps=3")
    assert f"{cost['ratio']:.2f} (measured on" in again.out
    cost["fingerprint"]["method"] = "older"
    step_costs.keep(file, step_costs.machine(cost), cost)
    assert " ms over " in command(*words).out
    assert " ms over " in command(*words, "--again").out


def test_a_warm_start_is_measured_in_steps_of_sgd(workplace, monkeypatch):
    monkeypatch.setattr(cells, "STEPS", 0)
    monkeypatch.setattr(cells, "BLOCK", 0.001)
    words = ["bench", "cells", "dataset=digits", "model=mlp", "optimizer=kfac,sgd", "budget.steps=3", "threads=1"]
    kfac, sgd = command(*words).out.splitlines()
    assert "steps of SGD" in kfac and "warm start" not in sgd
    (file,) = (file for file in Path("runs/.costs").iterdir() if _warm(file) > 0)
    ((machine, cost),) = step_costs.read(file).items()
    earlier = {key: value for key, value in cost.items() if key != "warm_start"}
    step_costs.keep(file, machine, earlier)  # as by a version that did not measure it
    assert f"{cost['ratio']:.2f} (measured on {cost['started']}), warm start" in command(*words).out
    assert {**step_costs.read(file)[machine], "warm_start": None} == {**cost, "warm_start": None} and _warm(file) > 0
    assert sorted(map(_warm, Path("runs/.costs").iterdir()))[0] == 0


def _warm(file):
    ((_, cost),) = step_costs.read(file).items()
    return cost["warm_start"]


def test_wrong_words_are_one_line():
    assert command("bench", "cells").errors[0].startswith("sobench: bench cells: got no argument, allowed: ")
    assert command("bench", "overhead", "practical/table-3").code == 2
    (line,) = command("bench", "step", "--suite", "digits").errors
    assert line == "sobench: bench step: got --suite, allowed: `bench cells` alone takes it"
    (line,) = command("bench", "cells", "sgd", "--suite", "digit").errors
    assert "--suite: got 'digit', allowed: digits, small" in line
    (line,) = command("bench", "cells", "sgdd", "--suite", "digits").errors
    assert "got 'sgdd', which is no optimizer" in line
