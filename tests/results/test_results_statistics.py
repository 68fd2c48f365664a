import math
import statistics

import numpy as np
import pytest
from mean_curves import curve
from run_tree import a_run, evals, put, row

from sobench.errors import UsageError
from sobench.results import collect
from sobench.results.aggregate import aggregate
from sobench.results.curves import trailing_mean
from sobench.results.frame import table
from sobench.results.pick import pick


def picked(tmp_path, rows, metric="train_loss", status="done", **how):
    run = a_run("sgd")
    put(tmp_path, run, rows, status)
    return pick(table(tmp_path), metric, **how)[run.id]


def test_last_and_best_and_at_a_place(tmp_path):
    rows = evals("train_loss", 2.0, 0.5, 1.0)
    assert picked(tmp_path, rows) == 1.0
    assert picked(tmp_path, rows, at="best", better="lower") == 0.5
    assert picked(tmp_path, rows, at="best", better="higher") == 2.0
    assert picked(tmp_path, rows, at={"step": 10}) == 0.5
    assert picked(tmp_path, rows, at={"epoch": 1.9}) == 0.5
    assert picked(tmp_path, rows, at={"seconds": 2.0}) == 1.0


def test_where_another_metric_is_best(tmp_path):
    """The first of the best rows; rows in which the other was not recorded do not count."""
    values = [(0.1, 0.5, 3.0), (0.9, 0.7, 2.0), (0.8, 0.7, math.nan), (1.0, None, 1.0), (0.2, 0.6, 4.0)]
    rows = [
        row("eval", 10 * i, test_accuracy=t, train_loss=loss, **({} if v is None else {"validation_accuracy": v}))
        for i, (t, v, loss) in enumerate(values)
    ]
    assert picked(tmp_path, rows, "test_accuracy", at={"highest": "validation_accuracy"}) == 0.9
    assert picked(tmp_path, rows, "test_accuracy", at={"lowest": "train_loss"}) == 1.0
    assert picked(tmp_path, rows, "step", at={"highest": "validation_accuracy"}) == 10
    assert math.isnan(picked(tmp_path, rows, "test_accuracy", at={"highest": "unheard_of"}))


def test_the_absolute_value_of_a_metric(tmp_path):
    rows = evals("eta/b", 2.0, -3.0, 1.0)
    assert picked(tmp_path, rows, "|eta/b|", at="best", better="higher") == 3.0
    assert picked(tmp_path, rows, "|eta/b|", at={"step": 10}) == 3.0
    assert math.isnan(picked(tmp_path, rows, "|eta/c|"))


def test_the_mean_over_an_epoch_is_of_its_own_rows(tmp_path):
    """Ten steps an epoch: steps 1 to 10 are the first epoch, 11 to 20 the second; the third is not completed."""
    tries = [math.nan if step == 13 else step**2 for step in range(1, 26)]
    rows = [row("train", step + 1, tries=value) for step, value in enumerate(tries)]
    of = lambda number: picked(tmp_path, rows, "tries", kind="train", at={"mean_of_epoch": number})
    assert of(1) == statistics.mean(tries[:10]) == 38.5
    assert of(2) == pytest.approx(statistics.mean(v for v in tries[10:20] if not math.isnan(v)))
    run = a_run("sgd")
    assert run.id not in pick(table(tmp_path), "tries", kind="train", at={"mean_of_epoch": 3})


def test_a_run_that_never_came_as_far_has_no_value_there(tmp_path):
    run = a_run("sgd")
    put(tmp_path, run, evals("train_loss", 2.0, 0.5))
    assert run.id not in pick(table(tmp_path), "train_loss", at={"step": 30})


def test_the_last_value_is_not_the_last_good_one(tmp_path):
    assert math.isnan(picked(tmp_path, evals("train_loss", 2.0, math.nan)))


def test_derived_metrics_and_costs_come_from_the_last_row_of_any_kind(tmp_path):
    rows = [row("eval", 0, test_accuracy=0.1), row("train", 30, loss=2.0, seconds=6.0)]
    assert picked(tmp_path, rows, "seconds_per_step") == pytest.approx(0.2)
    assert picked(tmp_path, rows, "test_error") == pytest.approx(0.9)
    assert math.isnan(picked(tmp_path, rows, "unheard_of"))
    assert math.isnan(picked(tmp_path, rows, "train_error"))


@pytest.mark.parametrize("at", ["first", {"loss": 1}, {"step": 1, "epoch": 1}])
def test_any_other_place_is_refused(tmp_path, at):
    with pytest.raises(UsageError, match="allowed: last, best"):
        picked(tmp_path, evals("train_loss", 2.0), at=at)


def aggregated(tmp_path, outcomes, **how):
    """Aggregate of runs that ended as (status, last train_loss), a seed each; None is a run that is not there."""
    runs = [a_run("sgd", seed) for seed in range(len(outcomes))]
    for run, outcome in zip(runs, outcomes, strict=True):
        if outcome:
            put(tmp_path, run, evals("train_loss", 2.3, outcome[1]), outcome[0])
    results = collect(runs, tmp_path)
    return aggregate(pick(results.table, "train_loss"), results.runs, results.states, **how)


def test_mean_and_standard_error_over_seeds(tmp_path):
    values = [0.2, 0.4, 0.9]
    found = aggregated(tmp_path, [("done", value) for value in values])
    assert found.mean == pytest.approx(statistics.mean(values))
    assert found.stderr == pytest.approx(statistics.stdev(values) / math.sqrt(3))
    assert (found.found, found.expected, found.gap) == (3, 3, "")


def test_no_run_leaves_a_mean_in_silence(tmp_path):
    found = aggregated(
        tmp_path,
        [
            ("done", 0.2),
            ("diverged", 80.0),
            ("failed", 0.1),
            None,
            ("diverged", math.nan),
            ("done", 0.4),
            ("done", math.inf),
        ],
    )
    assert found.mean == pytest.approx(0.3)
    assert (found.found, found.expected, found.diverged, found.failed) == (2, 7, 2, 1)
    assert found.gap == "diverged 2/7, failed 1/7, missing 1/7, not finite 1/7"
    assert found.found + sum(found.gaps.values()) == found.expected


def test_an_unfinished_run_is_not_in_the_mean(tmp_path):
    found = aggregated(tmp_path, [("done", 0.2), (None, 0.1)])
    assert (found.mean, found.gap) == (0.2, "interrupted 1/2")
    assert math.isnan(found.stderr)


def test_nothing_at_all_has_no_mean(tmp_path):
    found = aggregated(tmp_path, [None, None])
    assert math.isnan(found.mean) and found.gap == "missing 2/2"


def test_costs_may_count_diverged_runs_and_still_say_so(tmp_path):
    found = aggregated(tmp_path, [("done", 0.2), ("diverged", 0.4)], diverged=True)
    assert (found.mean, found.found, found.gap) == (pytest.approx(0.3), 2, "diverged 1/2")


def curves(tmp_path, *rows_of_seeds, x="step", y="train_loss", **how):
    for seed, rows in enumerate(rows_of_seeds):
        put(tmp_path, a_run("sgd", seed), rows)
    return curve(table(tmp_path), x, y, **how)


def table_value(tmp_path, metric="train_loss"):
    """The mean and standard error of a table's column with `at: last`, over the runs that `curves` wrote."""
    runs = [a_run("sgd", seed) for seed in range(len(list(tmp_path.glob("*/seed-*"))))]
    results = collect(runs, tmp_path)
    found = aggregate(pick(results.table, metric), results.runs, results.states)
    return found.mean, found.stderr, found.found


def test_a_run_that_ended_keeps_its_last_value_until_the_last_run_ends(tmp_path):
    found = curves(tmp_path, evals("train_loss", 2.0, 1.0, 0.5), evals("train_loss", 4.0, 2.0))
    assert found["x"].tolist() == [0, 10, 20] and found["mean"].tolist() == [3.0, 1.5, 1.25]
    pairs = [(2, 4), (1, 2), (0.5, 2)]
    np.testing.assert_allclose(found["stderr"], [np.std(pair, ddof=1) / 2**0.5 for pair in pairs])
    assert set(found["n"]) == {2}


def test_without_holding_a_mean_ends_with_the_first_run(tmp_path):
    found = curves(tmp_path, evals("train_loss", 2.0, 1.0, 0.5), evals("train_loss", 4.0, 2.0), hold=False)
    assert found["x"].tolist() == [0, 10] and found["mean"].tolist() == [3.0, 1.5]


def test_runs_of_unequal_speed_are_paired_by_evaluation_at_the_mean_of_their_times(tmp_path):
    values = [[3.0, 2.0, 1.0, 0.5], [5.0, 4.0, 2.0, 0.7]]
    seconds = [[0.0, 1.0, 2.0, 3.0], [0.0, 4.0, 8.0, 12.0]]
    runs = [
        [row("eval", 10 * i, seconds=t, train_loss=v) for i, (t, v) in enumerate(zip(*run, strict=True))]
        for run in zip(seconds, values, strict=True)
    ]
    found = curves(tmp_path, *runs, x="seconds")
    np.testing.assert_allclose(found["x"], np.mean(seconds, axis=0))
    np.testing.assert_allclose(found["mean"], np.mean(values, axis=0))


@pytest.mark.parametrize("x", ["step", "epoch", "seconds", "work"])
@pytest.mark.parametrize("draw", range(5))
def test_the_end_of_a_curve_is_the_value_of_the_table(tmp_path, x, draw):
    """Runs of unequal speed and length; every value may be undefined, the last one too."""
    rng, runs = np.random.default_rng(draw), []
    for _ in range(4):
        values = rng.lognormal(size=rng.integers(3, 12))
        values[rng.random(len(values)) < 0.2] = math.nan
        values[0] = 1.0
        times = np.cumsum(rng.lognormal(size=len(values)))
        runs.append([row("eval", 10 * i, seconds=t, train_loss=v) for i, (t, v) in enumerate(zip(times, values))])
    found = curves(tmp_path, *runs, x=x)
    mean, stderr, n = table_value(tmp_path)
    assert n
    end = found.iloc[-1]
    np.testing.assert_allclose([end["mean"], end["stderr"], end["n"]], [mean, stderr, n])
    if n == 4:
        assert (np.diff(found["x"]) >= 0).all()
    if n == 4 and x != "seconds":
        assert end["x"] == max(rows[-1][x] for rows in runs)


def test_a_value_that_one_run_lacks_is_interpolated_and_a_row_that_all_lack_is_left_out(tmp_path):
    found = curves(
        tmp_path, evals("train_loss", 4.0, math.nan, math.nan, 1.0), evals("train_loss", 2.0, 2.0, math.inf, 2.0)
    )
    assert found["x"].tolist() == [0, 10, 30] and found["mean"].tolist() == [3.0, 2.5, 1.5]


def test_one_seed_has_no_standard_error_and_none_no_curve(tmp_path):
    found = curves(tmp_path, evals("train_loss", 2.0, 1.0))
    assert found["stderr"].isna().all() and found["n"].tolist() == [1, 1]
    assert len(curves(tmp_path, evals("train_loss", 2.0), y="unheard_of")) == 0


def test_smoothing_is_the_mean_of_the_last_steps():
    steps, values = np.array([10, 20, 30, 40]), np.array([4.0, 2.0, 6.0, 0.0])
    np.testing.assert_allclose(trailing_mean(steps, values, 20), [4, 3, 4, 3])
    np.testing.assert_allclose(trailing_mean(steps, values, 1000), np.cumsum(values) / [1, 2, 3, 4])
    np.testing.assert_allclose(trailing_mean(steps, values, 10), values)
