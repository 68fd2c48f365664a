"""Metrics that are of a run and not of a row, of every row, or of the row that first comes to a level."""

import math

import numpy as np
import pytest
from mean_curves import curve
from run_tree import a_run, evals, put, row

from sobench.report.numbers import Numbers
from sobench.results.frame import table
from sobench.results.pick import better_of, column, count, pick, reach


def loaded(root, rows, status="done", **summary):
    run = a_run("sgd")
    put(root, run, rows, status, **summary)
    return table(root), run.id


def test_the_numbers_of_the_summary_are_metrics(tmp_path):
    frame, run = loaded(tmp_path, evals("train_loss", 2.0, 1.0), state_bytes=800, parameters=50, warm_start_seconds=3.0)
    assert pick(frame, "state_bytes")[run] == 800 and pick(frame, "parameters")[run] == 50
    assert pick(frame, "state_bytes_over_parameters")[run] == 16
    assert pick(frame, "total_seconds")[run] == pick(frame, "seconds")[run] + 3.0
    assert math.isnan(pick(frame, "peak_device_bytes")[run])


def test_they_are_there_for_a_run_without_any_evaluation_and_not_for_one_that_is_not_over(tmp_path):
    frame, run = loaded(tmp_path / "1", [row("train", 5, loss=9.0)], "diverged", state_bytes=800)
    assert pick(frame, "state_bytes")[run] == 800
    frame, run = loaded(tmp_path / "2", evals("train_loss", 2.0), None)
    assert math.isnan(pick(frame, "state_bytes")[run])


def test_the_warm_start_shifts_the_axis_of_time_and_a_run_without_one_starts_at_zero(tmp_path):
    rows = evals("train_loss", 4.0, 2.0, 1.0)  # at 0, 1 and 2 seconds
    frame, run = loaded(tmp_path / "1", rows, warm_start_seconds=1.5)
    assert pick(frame, "train_loss", at={"total_seconds": 2.6})[run] == 2.0
    assert pick(frame, "train_loss", at={"seconds": 2.0})[run] == 1.0
    assert column(frame, "total_seconds").tolist() == pytest.approx([1.5, 2.5, 3.5])
    frame, run = loaded(tmp_path / "2", rows, warm_start_seconds=None)
    assert column(frame, "total_seconds").tolist() == pytest.approx([0.0, 1.0, 2.0])


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        ({"at_most": 2.0}, 2.0),
        ({"at_most": 5.0}, 0.0),
        ({"at_most": 0.4}, math.inf),
        ({"at_most": 1.0}, 3.0),
        ({"at_least": 4.0}, 0.0),
        ({"at_least": 9.0}, math.inf),
    ],
)
def test_the_first_row_at_a_level(tmp_path, level, expected):
    frame, run = loaded(tmp_path, evals("train_loss", 4.0, 3.0, 1.9, 0.5, 2.5))
    assert reach(frame, "seconds", "train_loss", **level)[run] == pytest.approx(expected)


def test_a_level_of_what_nobody_recorded_is_unknown_and_a_row_without_a_value_is_not_there(tmp_path):
    frame, run = loaded(tmp_path, evals("train_loss", math.nan, math.nan, 1.0))
    assert reach(frame, "epoch", "train_loss", at_most=2.0)[run] == 2.0
    assert math.isnan(reach(frame, "epoch", "unheard_of", at_most=2.0)[run])


def test_all_values_of_a_run_by_step_from_a_start_on(tmp_path):
    rows = [
        row("train", step, loss=1.0, cosine=value) for step, value in ((1, 0.1), (2, math.nan), (3, 0.3), (4, math.inf))
    ]
    frame, run = loaded(tmp_path, rows)

    def series(metric, **start):
        return Numbers(frame).by_step("train", metric, start, [run])[run]

    assert series("cosine").to_dict() == {1: 0.1, 3: 0.3, 4: math.inf}
    assert series("cosine", step=3).to_dict() == {3: 0.3, 4: math.inf}
    assert series("cosine", epoch=0.3).index[0] == 3
    assert len(series("unheard_of")) == 0


def test_the_mean_of_each_epoch_is_over_its_values_alone(tmp_path):
    # ten steps an epoch: the tenth step ends the first epoch, the eleventh begins the second
    rows = [row("train", step, ratio=math.nan if step in (4, 25) else float(step)) for step in range(1, 31)]
    frame, run = loaded(tmp_path, rows)
    found = curve(frame, "epochs", "ratio", kind="train")
    assert found["x"].tolist() == [1, 2, 3]
    first = [step for step in range(1, 11) if step != 4]
    third = [step for step in range(21, 31) if step != 25]
    np.testing.assert_allclose(found["mean"], [np.mean(first), 15.5, np.mean(third)])
    assert count(frame, "train", without="ratio") == {run: 2} and count(frame, "train") == {run: 30}
    assert count(frame, "train", without="unheard_of") == {run: 30}


def test_an_epoch_without_a_value_has_no_point(tmp_path):
    rows = [row("train", step, ratio=math.inf if 10 < step <= 20 else 1.0) for step in range(1, 31)]
    frame, _ = loaded(tmp_path, rows)
    assert curve(frame, "epochs", "ratio", kind="train")["x"].tolist() == [1, 3]


@pytest.mark.parametrize(
    "metric, better",
    [
        ("test_accuracy", "higher"),
        ("validation_r2", "higher"),
        ("train_loss", "lower"),
        ("test_rmse", "lower"),
        ("test_error", "lower"),
    ],
)
def test_which_metrics_are_better_when_higher(metric, better):
    assert better_of(metric) == better
