import math
import warnings

import numpy as np
import pytest
from run_tree import a_run, evals, put, row

from sobench.results import load
from sobench.results.collection import collect, matches
from sobench.results.frame import table


def test_a_row_for_each_row_with_the_run_it_is_of(tmp_path):
    rows = [row("train", 10, loss=1.5, damping=0.1), *evals("train_loss", 2.0, 1.0)]
    put(tmp_path, a_run("sgd", 0), rows)
    put(tmp_path, a_run("newton", 3), evals("train_loss", 2.0), "diverged", "loss is NaN")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        frame = load(tmp_path)
    assert len(frame) == 4
    sgd = frame[frame["optimizer"] == "sgd"]
    assert sgd["kind"].tolist() == ["eval", "eval", "train"]
    assert sgd["train_loss"].tolist()[:2] == [2.0, 1.0] and math.isnan(sgd["train_loss"].iloc[2])
    assert sgd["damping"].iloc[2] == 0.1 and sgd["loss"].iloc[2] == 1.5
    newton = frame[frame["optimizer"] == "newton"].iloc[0]
    assert (newton["seed"], newton["status"], newton["reason"], newton["dataset"], newton["model"]) == (
        3,
        "diverged",
        "loss is NaN",
        "mnist",
        "mlp",
    )
    assert newton["run"] == a_run("newton", 3).id and newton["cell"] == a_run("newton").cell


def test_infinite_and_undefined_numbers_survive(tmp_path):
    put(tmp_path, a_run("sgd"), evals("train_loss", 1.0, math.inf, math.nan), "diverged")
    np.testing.assert_array_equal(load(tmp_path)["train_loss"], [1.0, math.inf, math.nan])


def test_words_among_the_diagnostics_stay_words(tmp_path):
    put(tmp_path, a_run("newton"), [row("train", 10, loss=1.0, outcome="indefinite"), row("train", 20, loss=1.0)])
    put(tmp_path, a_run("sgd"), [row("train", 10, loss=1.0)])
    assert set(load(tmp_path)["outcome"].dropna()) == {"indefinite"}


def test_a_half_written_last_line_is_ignored_without_a_warning(tmp_path):
    directory = put(tmp_path, a_run("sgd"), evals("train_loss", 2.0, 1.0), None)
    with open(directory / "metrics.jsonl", "a") as file:
        file.write('{"kind": "eval", "step": 20, "epoch"')
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load(tmp_path)["step"].tolist() == [0, 10]


def test_damage_is_one_warning_that_names_every_run_and_keeps_good_rows(tmp_path):
    good = put(tmp_path, a_run("adam"), evals("train_loss", 2.0))
    broken = put(tmp_path, a_run("sgd"), evals("train_loss", 2.0, 1.0))
    text = (broken / "metrics.jsonl").read_text()
    (broken / "metrics.jsonl").write_text(text.replace("{", "?", 1))
    lost = put(tmp_path, a_run("newton"), evals("train_loss", 2.0))
    (lost / "run.json").write_text("{")
    with pytest.warns(UserWarning) as caught:
        frame = load(tmp_path)
    assert len(caught) == 1
    message = str(caught[0].message)
    assert str(broken) in message and str(lost) in message and str(good) not in message
    assert "1 of 2 lines" in message
    assert frame.groupby("optimizer", observed=True).size().to_dict() == {"adam": 1, "sgd": 1}


def test_a_step_that_a_resumed_run_wrote_again_counts_once(tmp_path):
    put(tmp_path, a_run("sgd"), [row("train", 10, loss=1.0), row("train", 20, loss=9.0), row("train", 20, loss=2.0)])
    assert load(tmp_path)["loss"].tolist() == [1.0, 2.0]


def test_nothing_found_is_an_empty_frame(tmp_path):
    frame = load(tmp_path)
    assert len(frame) == 0 and {"kind", "run", "seed", "step", "seconds"} <= set(frame)
    assert len(load([tmp_path / "nowhere"])) == 0


def test_the_rows_of_a_run_and_the_most_of_any_run(tmp_path):
    runs = [a_run(name, seed) for name in ("sgd", "newton") for seed in range(3)]
    for count, run in enumerate(runs):
        put(tmp_path, run, [*evals("train_loss", *[2.0] * (2 * count)), row("train", 10, loss=1.5)])
    for kind in (None, "eval", "train"):
        rows = table(tmp_path).of_kind(kind)
        frame = rows.frame()
        for run in [*runs, a_run("adam")]:
            expected = np.flatnonzero(frame["run"] == run.id)
            found = rows.rows_of(run.id)
            np.testing.assert_array_equal([] if found is None else found, expected)
            (padded,) = rows.rows_by_run([run.id])
            np.testing.assert_array_equal(padded, expected)
        by_run = rows.rows_by_run(run.id for run in runs)
        for run, own in zip(runs, by_run, strict=True):
            expected = np.flatnonzero(frame["run"] == run.id)
            np.testing.assert_array_equal(own, np.pad(expected, (0, len(own) - len(expected)), constant_values=-1))
        for counted in (frame.index % 3 == 0, frame.index < 0):
            assert rows.most(counted) == frame["run"][counted].value_counts().max()


def test_expected_runs_are_joined_with_what_is_found(tmp_path):
    runs = [a_run("sgd", seed) for seed in (0, 1)] + [a_run("newton"), a_run("sgd", 0)]
    put(tmp_path, runs[0], evals("train_loss", 2.0, 1.0))
    put(tmp_path, a_run("adam"), evals("train_loss", 0.1))  # nobody asked for it
    results = collect(runs, tmp_path)
    assert len(results.runs) == 3
    assert [results.states[run.id].status for run in results.runs] == ["done", "missing", "missing"]
    assert results.select({"optimizer": "sgd", "optimizer.lr": 0.1}) == runs[:2]
    assert results.rows(results.runs, "eval")["train_loss"].tolist() == [2.0, 1.0]
    assert len(results.rows([runs[1]], "eval")) == 0 == len(results.rows(results.runs, "train"))


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ({"dataset": "mnist"}, True),
        ({"dataset.name": "mnist"}, True),
        ({"optimizer.lr": [0.3, 0.1]}, True),
        ({"optimizer.lr": 0.2}, False),
        ({"optimizer.momentum": 0.9}, False),
        ({"dataset": "mnist", "seed": 1}, False),
        ({}, True),
    ],
)
def test_a_configuration_fits_all_of_where_or_not_at_all(where, expected):
    assert matches(a_run("sgd").config, where) is expected
