"""Hyperparameter tuning: trials of the grids, the selection, its use in an experiment, and `sobench tune`."""

from __future__ import annotations

import itertools
import math
from types import SimpleNamespace

import numpy as np
import pytest
import tiny_data
import yaml
from harness import command

from sobench.config import files, tuning
from sobench.config.grid import expand, sweeper
from sobench.errors import UsageError
from sobench.report import tune_pages
from sobench.results.aggregate import Aggregate
from sobench.results.blocks import Block
from sobench.results.collection import Results
from sobench.results.pick import check_metric
from sobench.results.record import Record
from sobench.results.row_table import Table
from sobench.results.state import State
from sobench.results.trials import Search, Trial, searches

EXPERIMENT = "kernelsgd/table-3"
SWEEP = {
    "cells": [
        ["optimizer=sgd", "optimizer.lr=1"],
        ["optimizer=sgd", "optimizer.momentum=0.9", "optimizer.lr=1"],
        ["optimizer=adam"],
    ],
    "tune": {
        "seeds": [7, 8],
        "metric": "validation_accuracy",
        "better": "higher",
        "grids": {
            "sgd": {"optimizer.lr": [0.1, 0.2]},
            "sgd optimizer.momentum=0.9": {"optimizer.lr": [3], "l2": [0, 1]},
        },
    },
}


# Trials


def test_every_combination_takes_the_place_of_the_cells_own_values():
    cells, seeds = tuning.trials(SWEEP)
    assert cells == [
        ["optimizer=sgd", "optimizer.lr=0.1"],
        ["optimizer=sgd", "optimizer.lr=0.2"],
        ["optimizer=sgd", "optimizer.momentum=0.9", "optimizer.lr=3", "l2=0"],
        ["optimizer=sgd", "optimizer.momentum=0.9", "optimizer.lr=3", "l2=1"],
    ]
    assert seeds == ["seed=7", "seed=8"]


def test_the_trials_of_the_paper():
    cells, seeds = tuning.trials(sweeper([f"experiment={EXPERIMENT}"]))
    assert seeds == ["seed=1000", "seed=1001"] and sum("dataset=usps" in cell for cell in cells) == 16 + 6 * 4
    runs = expand([f"experiment={EXPERIMENT}", "dataset=usps", "optimizer=kernel_sgd", "hydra.sweeper.trials=true"])
    found = [(run.config["optimizer"]["lr"], run.config["optimizer"]["gamma"]) for run in runs]
    assert len(runs) == 2 * 16 and set(found) == set(itertools.product([0.1, 0.01, 0.001, 0.0001], repeat=2))


@pytest.mark.parametrize(
    "change, said",
    [
        ({"grid": 1}, r"tune\.grid: no such key"),
        ({"seeds": []}, "a list of seeds"),
        ({"better": "best"}, "lower or higher"),
        (None, "no grid"),
    ],
)
def test_a_wrong_tune_is_one_line(change, said):
    with pytest.raises(UsageError, match=said):
        tuning.trials({**SWEEP, "tune": change and {**SWEEP["tune"], **change}})


# The selection


def search(scores, *, better="higher", grid=None) -> Search:
    """Trials with these scores; None: the trial did not finish with one of its two seeds."""
    grid = grid or {"optimizer.lr": list(range(len(scores)))}
    values = [dict(zip(grid, combination)) for combination in itertools.product(*grid.values())]
    made = [
        Trial(v, Aggregate({0: 1.0}, 2) if s is None else Aggregate({0: s - 0.5, 1: s + 0.5}, 2))
        for v, s in zip(values, scores)
    ]
    return Search(("optimizer=sgd",), grid, made, better)


@pytest.mark.parametrize(
    "better, scores, best, edge",
    [
        ("higher", [1.0, 3.0, 2.0], 1, []),
        ("lower", [1.0, 3.0, 2.0], 0, ["optimizer.lr"]),
        ("higher", [1.0, None, 2.0], 2, ["optimizer.lr"]),
        ("higher", [2.0, 5.0, 5.0, 2.0], 1, []),
    ],
)
def test_the_best_mean_of_those_that_finished_is_chosen(better, scores, best, edge):
    found = search(scores, better=better)
    assert found.best.values == {"optimizer.lr": best} and found.edge == edge


def test_nothing_is_chosen_where_nothing_finished():
    found = search([None, None])
    assert found.best is None and found.edge == [] and math.isnan(found.best_of(1))


@pytest.mark.parametrize(
    "change, seconds, best",
    [
        ({"metric": "train_loss", "at": "last"}, None, 0.1),
        ({"metric": "train_loss", "at": "last"}, 5.0, 0.2),  # what it reached in its seconds says nothing
        ({"metric": "seconds", "at": {"lowest": "train_loss"}}, None, 0.2),
        ({"metric": "train_loss", "at": {"seconds": 2.0}}, None, 0.2),
    ],
)
def test_a_run_that_shared_its_gpu_is_no_trial_where_a_time_is_asked_for(change, seconds, best):
    sweep = {
        "cells": [["optimizer=sgd", "optimizer.lr=1"]],
        "tune": {"seeds": [7], "better": "lower", "grids": {"sgd": {"optimizer.lr": [0.1, 0.2]}}, **change},
    }
    runs = [
        SimpleNamespace(
            id=str(lr),
            seed=7,
            cell=str(lr),
            config={"budget": {"seconds": seconds}},
            overrides=("optimizer=sgd", f"optimizer.lr={lr}"),
        )
        for lr in (0.1, 0.2)
    ]
    states = {run.id: State("done", "", 1, 1.0, 1.0, None, {"shared": run.id == "0.1"}) for run in runs}
    rows = {
        "0.1": {"step": 1.0, "seconds": 1.0, "train_loss": 1.0},
        "0.2": {"step": 1.0, "seconds": 2.0, "train_loss": 2.0},
    }
    (found,) = searches(
        sweep, Results(runs, states, Table.of(_record(run, states[run.id], rows[run.id]) for run in runs))
    )
    assert found.best.values == {"optimizer.lr": best}


def _record(run, stood: State, row: dict) -> Record:
    return Record(
        stood,
        {"run": run.id},
        [Block("eval", list(row), {name: np.array([value]) for name, value in row.items()}, {}, 1)],
    )


def test_an_edge_is_of_each_setting_that_was_searched():
    found = search([0, 0, 0, 0, 9, 0], grid={"a": [1, 2, 3], "b": [5, 6]})
    assert found.best.values == {"a": 3, "b": 5} and found.edge == ["a", "b"]
    assert search([1.0], grid={"a": [1]}).edge == []


@pytest.mark.parametrize("better", ["higher", "lower"])
@pytest.mark.parametrize("scores", [[3.0, 1.0, 4.0, 1.5, 9.0], [3.0, None, 4.0, None]])
def test_best_of_k_is_the_mean_over_all_draws(better, scores):
    found, pick = search(scores, better=better), max if better == "higher" else min
    for k in range(1, len(scores) + 1):
        draws = [[s for s in draw if s is not None] for draw in itertools.combinations(scores, k)]
        bests = [pick(draw) for draw in draws if draw]
        assert found.best_of(k) == pytest.approx(sum(bests) / len(bests))
    assert math.isnan(found.best_of(len(scores) + 1))


# The use of the selection


@pytest.fixture
def tuned(tmp_path, monkeypatch):
    """The file of the selection, in a folder of the user's own, which is not there yet."""
    monkeypatch.chdir(tmp_path)
    return tmp_path / "conf" / "tuned" / "kernelsgd.yaml"


def write(path, *entries):
    path.parent.mkdir(parents=True)
    path.write_text(yaml.safe_dump([{"cell": cell, "values": values} for cell, values in entries], sort_keys=False))


def test_a_choice_takes_the_place_of_a_cells_values_and_of_those_that_say_more(tuned):
    write(
        tuned,
        (["optimizer=sgd"], {"optimizer.lr": 5}),
        (["optimizer=sgd", "optimizer.momentum=0.9"], {"optimizer.lr": 6, "l2": 1}),
    )
    cells = [*SWEEP["cells"], ["optimizer=sgd", "optimizer.lr=1", "batch_size=9"]]
    assert tuning.chosen(cells, "kernelsgd") == [
        ["optimizer=sgd", "optimizer.lr=5"],
        ["optimizer=sgd", "optimizer.momentum=0.9", "optimizer.lr=6", "l2=1"],
        ["optimizer=adam"],
        ["optimizer=sgd", "batch_size=9", "optimizer.lr=5"],
    ]


def test_an_experiment_runs_with_what_was_chosen(tuned):
    write(tuned, (["dataset=usps", "model=mlp", "optimizer=esgd"], {"optimizer.lr": 0.25}))
    words = [f"experiment={EXPERIMENT}", "dataset=usps", "optimizer=esgd", "seed=0"]
    assert [run.config["optimizer"]["lr"] for run in expand(words)] == [0.25]
    assert [run.config["optimizer"]["lr"] for run in expand([*words, "optimizer.lr=0.5"])] == [0.5], (
        "the command line is above it"
    )


@pytest.mark.parametrize("text", ["a: 1", "- 3", "- {cell: [a]}", "- ["])
def test_a_damaged_file_is_one_line(tuned, text):
    tuned.parent.mkdir(parents=True)
    tuned.write_text(text)
    with pytest.raises(UsageError, match="a list of entries"):
        expand([f"experiment={EXPERIMENT}", "dataset=usps"])


@pytest.fixture(scope="module")
def trials(tmp_path_factory):
    """A mirror of the data, and a folder of runs that the tests share."""
    folder = tmp_path_factory.mktemp("trials")
    tiny_data.write(folder / "mirror")
    with pytest.MonkeyPatch.context() as patch:
        tiny_data.declare(patch)
        yield folder


@pytest.fixture
def words(trials, tmp_path):
    return [
        EXPERIMENT,
        "dataset=usps",
        "optimizer=sgd",
        "budget.epochs=2",
        "batch_size=16",
        "threads=1",
        f"runs={trials / 'runs'}",
        f"reports={tmp_path / 'reports'}",
        f"data.mirror={trials / 'mirror'}",
    ]


def test_tune_runs_chooses_writes_and_warns(tuned, words, tmp_path):
    result = command("tune", *words)
    assert result.code == 0, result.err
    plain, momentum = yaml.safe_load(tuned.read_text())
    ours = yaml.safe_load((files.conf_dir() / "tuned" / "kernelsgd.yaml").read_text())
    others = [entry for entry in ours if entry["cell"] not in (plain["cell"], momentum["cell"])]
    assert len(others) == len(ours) - 2 and tuning.entries("kernelsgd") == [*others, plain, momentum]
    assert (
        plain["cell"] == ["dataset=usps", "model=mlp", "optimizer=sgd"] and "optimizer.momentum=0.9" in momentum["cell"]
    )
    assert plain["seeds"] == [1000, 1001] and plain["trials"] == 4 and plain["metric"] == "validation_accuracy"
    assert ("edge of its grid" in result.err) == bool(plain["edge"] + momentum["edge"])
    (folder,) = (tmp_path / "reports" / EXPERIMENT / "tune").iterdir()
    assert {file.name for file in folder.iterdir()} == {"tuning.md", "index.html", "trials.csv", "best-of-k.png"}
    page = (folder / "tuning.md").read_text()
    assert all(f"| best of {k} |" in page for k in (1, 2, 3, 4)) and "best of 5" not in page
    assert len((folder / "trials.csv").read_text().splitlines()) == 9
    assert f"made the folder {tuned.parent}" in result.out
    head, *rows = [line.split() for line in result.out.splitlines()[-3:]]
    assert head == ["cell", "setting", "value", "validation_accuracy", "trials"]
    for row, entry in zip(rows, (plain, momentum), strict=True):
        place = row.index("optimizer.lr")
        assert float(row[place + 1]) == entry["values"]["optimizer.lr"] and row[place + 5] == "4"
        assert abs(float(row[place + 2]) - entry["score"]) < 1e-4 and row[place + 3] == "±"
        assert (row[-1] == "grid") == bool(entry["edge"])
    rates = [run.config["optimizer"]["lr"] for run in expand([f"experiment={EXPERIMENT}", *words[1:3], "seed=0"])]
    assert rates == [plain["values"]["optimizer.lr"], momentum["values"]["optimizer.lr"]]


def test_tuning_again_changes_nothing_but_what_it_is_about(tuned, words):
    write(tuned, (["dataset=imdb"], {"l2": 1}), (["dataset=usps", "model=mlp", "optimizer=sgd"], {"optimizer.lr": 77}))
    assert command("tune", *words).code == 0
    found = yaml.safe_load(tuned.read_text())
    assert len(found) == 3 and found[0] == {"cell": ["dataset=imdb"], "values": {"l2": 1}}
    assert 77 not in [entry["values"].get("optimizer.lr") for entry in found]
    before = tuned.read_text()
    assert "nothing to do" in command("tune", *words).out and tuned.read_text() == before


OF_GROUPS = """\
# @package _global_
# Two learning rates of a parameter group
threads: 1
model: {widths: [4]}
budget: {steps: 3}
validation: 0.1
hydra:
  sweeper:
    params: {seed: "range(1)"}
    tuned: mine
    tune:
      seeds: [1000]
      metric: validation_loss
      better: lower
      grids:
        muon: {optimizer.groups.1.lr: [0.0001, 0.1], optimizer.lr: [0.03]}
    cells:
      - [optimizer=muon, optimizer.lr=0.01]
"""


def test_a_grid_may_search_a_value_of_a_group(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    experiment = tmp_path / "conf" / "experiment" / "mine.yaml"
    experiment.parent.mkdir(parents=True)
    experiment.write_text(OF_GROUPS)
    done = command("tune", "mine", "progress=false")
    assert done.code == 0, done.err
    (entry,) = yaml.safe_load((tmp_path / "conf" / "tuned" / "mine.yaml").read_text())
    assert entry["cell"] == ["optimizer=muon"] and entry["trials"] == 2
    assert entry["values"] == {"optimizer.groups.1.lr": 0.1, "optimizer.lr": 0.03}
    (run,) = expand(["experiment=mine"])
    muon = run.config["optimizer"]
    assert muon["lr"] == 0.03 and muon["groups"][1]["lr"] == 0.1 and "lr" not in muon["groups"][0]
    (page,) = (tmp_path / "reports" / "mine").rglob("tuning.md")
    assert "groups.1.lr=0.1" in page.read_text()


@pytest.mark.parametrize(
    "extra, said",
    [
        (["optimizer=sgd", "seed=0"], "seed: got 0, which kernelsgd/table-3 reports; allowed: others, such as ["),
        (["optimizer=sgd", "lr"], "allowed: KEY=VALUE"),
        (["optimizer=kfac"], "allowed in this experiment"),
        (["optimizer=sgd", "hydra.sweeper.tune.at=end"], "hydra.sweeper.tune.at: got 'end', allowed: best, last"),
        (["optimizer=sgd", "hydra.sweeper.tune.metric=test_acuracy"], "did you mean 'test_accuracy'?"),
    ],
)
def test_wrong_words_are_one_line_and_nothing_is_written(tuned, words, extra, said, tmp_path):
    others = [word for word in words if not word.startswith(("optimizer=", "runs="))]
    result = command("tune", *others, *extra, f"runs={tmp_path / 'runs'}")
    assert result.code == 2 and said in result.err and len(result.errors) == 1
    assert not tuned.exists() and not (tmp_path / "runs").exists()


def test_an_experiment_without_a_grid_is_one_line():
    result = command("tune", "demo/digits")
    assert result.code == 2 and "declares no grid" in result.err


def test_every_experiment_is_tuned_by_a_metric_that_runs_have():
    stated = {name: files.of_experiment(name).get("hydra.sweeper.tune.metric") for name in files.members("experiment")}
    assert len({*stated.values()}) > 2
    for name, metric in stated.items():
        if metric:
            check_metric(metric, name)


@pytest.mark.parametrize(
    "score, text",
    [(0.91234, "0.9123"), (0.0, "0.0000"), (2.34567e-8, "2.35e-08"), (1.5e30, "1.5e+30"), (-3.0, "-3.0000")],
)
def test_a_score_is_written_with_digits_that_say_something(score, text):
    assert tune_pages._shown(score) == text
