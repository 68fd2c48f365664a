"""From runs to the material of a comparison: what is compared, and what is refused."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from run_tree import a_run, put, row

from sobench.errors import UsageError
from sobench.report.comparison import selection
from sobench.report.comparison import study as studies
from sobench.report.comparison.selection import Options, Task, study
from sobench.report.comparison.study import EASIER, HARDER, TARGET
from sobench.results.collection import collect

SCHEDULE = {"schedule": {"name": "constant"}, "experiment": None}


def falling(rate: float, steps: int = 50, per_step: float = 0.1) -> list[dict]:
    """Evaluations every ten steps of a loss that falls from 1 by a factor at each."""
    return [
        row("eval", step, train_loss=rate ** (step // 10), work=step * per_step) for step in range(0, steps + 1, 10)
    ]


def made(root: Path, rates: dict[tuple[str, float], list[float | None]], dataset="mnist", seeds=None, **more) -> list:
    """The runs of these rates by optimizer and lr, one for each seed; None: the run diverged."""
    runs = []
    for (optimizer, lr), values in rates.items():
        for place, rate in enumerate(values):
            run = a_run(optimizer, (seeds or range(99))[place], lr=lr, dataset=dataset, **SCHEDULE)
            put(root, run, falling(2.0 if rate is None else rate, **more), "done" if rate else "diverged")
            runs.append(run)
    return runs


def compared(root: Path, runs: list, **options):
    tasks = [
        Task(name, name, [run for run in runs if run.label("dataset") == name])
        for name in dict.fromkeys(run.label("dataset") for run in runs)
    ]
    return study("t", "c", collect(runs, root), tasks, Options(**options))


def test_the_time_to_the_target_is_that_of_the_first_evaluation_that_reaches_it(tmp_path):
    runs = made(tmp_path, {("sgd", 0.1): [0.5, 0.5, 0.5], ("adam", 0.1): [0.25, 0.9, 0.25]})
    (problem,) = compared(tmp_path, runs, baseline="sgd").problems
    assert problem.levels[TARGET] == 0.5**5 and problem.metric == "train_loss"
    np.testing.assert_array_equal(problem.times("step", "sgd"), [50, 50, 50])
    np.testing.assert_array_equal(problem.times("step", "adam"), [30, math.inf, 30])  # 0.25^3 < 0.5^5
    assert problem.levels[EASIER] == pytest.approx(1.02 * 0.5**5)
    assert problem.levels[HARDER] == pytest.approx(0.98 * 0.5**5)
    np.testing.assert_array_equal(problem.times("step", "sgd", HARDER), [math.inf] * 3)


def test_each_run_has_its_own_evaluations(tmp_path):
    rows = {
        ("sgd", 0): [row("eval", 0, train_loss=1.0), row("eval", 10, train_loss=0.5), row("eval", 20, train_loss=0.6)],
        ("sgd", 1): [row("eval", 0, train_loss=1.0), row("eval", 30)],  # the last loss is missing
        ("adam", 0): [row("eval", step, train_loss=1 - step / 100) for step in range(0, 90, 10)],
        ("adam", 1): [row("eval", 0), row("eval", 40, train_loss=0.5)],
    }
    runs = [a_run(optimizer, seed, **SCHEDULE) for optimizer, seed in rows]
    for run, own in zip(runs, rows.values(), strict=True):
        put(tmp_path, run, own)
    (problem,) = compared(tmp_path, runs, baseline="sgd", axes=("step",)).problems
    sgd, adam = problem.entries["sgd"], problem.entries["adam"]
    assert problem.levels[TARGET] == 0.75  # the median of 0.5 and 1.0, the best of each seed
    np.testing.assert_array_equal(sgd.final, [0.6, 1.0])
    np.testing.assert_allclose(adam.final, [0.2, 0.5])
    np.testing.assert_array_equal(sgd.ends["step"], [20, 30])
    np.testing.assert_array_equal(adam.ends["step"], [80, 40])
    np.testing.assert_array_equal(sgd.times["step", TARGET], [10, math.inf])
    np.testing.assert_array_equal(adam.times["step", TARGET], [30, 40])


def test_an_infinite_last_value_stays_worse_than_any(tmp_path):
    runs = made(tmp_path, {("sgd", 0.1): [0.5]})
    runs.append(a_run("adam", 0, **SCHEDULE))
    put(tmp_path, runs[-1], [row("eval", 0, train_loss=1.0), row("eval", 50, train_loss=math.inf)])
    (problem,) = compared(tmp_path, runs).problems
    assert problem.entries["adam"].final.tolist() == [math.inf]


def test_methods_are_compared_up_to_the_place_that_all_reached(tmp_path):
    runs = made(tmp_path, {("sgd", 0.1): [0.5]}) + made(tmp_path, {("kfac", 0.1): [0.4]}, steps=90)
    (problem,) = compared(tmp_path, runs).problems
    assert problem.horizon("step") == 50
    assert problem.times("step", "kfac")[0] == 40
    (problem,) = compared(tmp_path, runs, target="kfac").problems
    assert problem.times("step", "kfac")[0] == math.inf  # it gets there at 90, where sgd was not run


def test_a_diverged_run_counts_as_late_and_leaves_the_horizon(tmp_path):
    runs = made(tmp_path, {("sgd", 0.1): [0.5, 0.5, None], ("adam", 0.1): [0.5, 0.5, 0.5]})
    (problem,) = compared(tmp_path, runs).problems
    assert problem.horizon("step") == 50
    assert problem.times("step", "sgd")[2] == math.inf and problem.entries["sgd"].final[2] == math.inf


def test_a_higher_metric_is_reached_from_below(tmp_path):
    runs = []
    for optimizer, gain in (("sgd", 0.1), ("adam", 0.2)):
        run = a_run(optimizer, **SCHEDULE)
        put(tmp_path, run, [row("eval", step, test_accuracy=gain * step / 10) for step in (0, 10, 20, 30)])
        runs.append(run)
    (problem,) = compared(tmp_path, runs, metric="test_accuracy").problems
    assert problem.better == "higher" and problem.levels[TARGET] == pytest.approx(0.3)
    assert problem.times("step", "adam")[0] == 20 and problem.times("step", "sgd")[0] == 30
    assert problem.levels[EASIER] < problem.levels[TARGET] < problem.levels[HARDER]


def test_of_several_settings_the_one_with_seeds_of_its_own_is_compared(tmp_path):
    trials = made(tmp_path, {("sgd", 0.1): [0.5], ("sgd", 0.2): [0.6], ("adam", 0.1): [0.5]}, seeds=[1000])
    runs = made(tmp_path, {("sgd", 0.1): [0.5, 0.5], ("adam", 0.1): [0.5, 0.5]})
    (problem,) = compared(tmp_path, [*trials, *runs]).problems
    assert problem.entries["sgd"].seeds == (0, 1) and problem.entries["sgd"].tuned["trials"] == 2


def test_several_settings_on_the_compared_seeds_are_refused(tmp_path):
    runs = made(tmp_path, {("sgd", 0.1): [0.5, 0.5], ("sgd", 0.2): [0.4, 0.4], ("adam", 0.1): [0.5, 0.5]})
    with pytest.raises(
        UsageError, match=r"sgd has 2 settings on mnist, with the same seeds \(0, 1\).*--tuning-seeds 0"
    ):
        compared(tmp_path, runs)
    (problem,) = compared(tmp_path, runs, tuning_seeds=frozenset({0})).problems
    assert problem.entries["sgd"].seeds == (1,) and "lr 0.2" in problem.entries["sgd"].settings
    with pytest.raises(UsageError, match="--tuning-seeds: got 0, 1; no setting of sgd"):
        compared(tmp_path, runs, tuning_seeds=frozenset({0, 1}))


def test_settings_that_are_no_numbers_make_a_method(tmp_path):
    runs = [a_run("sgd", **SCHEDULE)]
    for sharing in ("expand", "reduce"):
        runs.append(a_run("kfac", cell=f"kfac{sharing}", **SCHEDULE))
        runs[-1].config["optimizer"]["sharing"] = sharing
    for run in runs:
        put(tmp_path, run, falling(0.5))
    assert compared(tmp_path, runs).methods == ("sgd", "kfac (sharing expand)", "kfac (sharing reduce)")


def test_the_trials_are_those_of_the_choice_and_not_of_another_search(tmp_path):
    """Two searches wrote trials of sgd: of one rate, and of three. The choice was made among three."""
    run = a_run("sgd", 0, lr=0.1, reports=str(tmp_path), budget={"name": "cpu"}, **(SCHEDULE | {"experiment": "e"}))
    for folder, rates in (("cpu", (1,)), ("cpu,optimizer=sgd", (1, 2, 3))):
        (tmp_path / "e/tune" / folder).mkdir(parents=True)
        lines = ["cell,optimizer.lr,score", *(f"sgd,{rate},0.5" for rate in rates), "adam,9,0.5"]
        (tmp_path / "e/tune" / folder / "trials.csv").write_text("\n".join(lines) + "\n")
    run = replace(run, overrides=("optimizer=sgd", "optimizer.lr=0.1"))
    candidate = selection._Candidate([run])
    for count, rates in ((3, [1, 2, 3]), (1, [1]), (None, [1])):
        tried = selection._tried(run, candidate, None, count)
        assert [trial["optimizer.lr"] for trial in tried] == rates


def test_a_problem_without_one_of_the_methods_is_left_out_and_said(tmp_path):
    runs = made(tmp_path, {("sgd", 0.1): [0.5], ("adam", 0.1): [0.5]})
    runs += made(tmp_path, {("sgd", 0.1): [0.5]}, dataset="usps")
    found = compared(tmp_path, runs)
    assert [problem.name for problem in found.problems] == ["mnist"]
    assert found.left_out == ("usps: no finished run of adam",)


@pytest.mark.parametrize(
    "options, line",
    [
        ({"baseline": "sgdd"}, "--baseline: got 'sgdd', allowed: adam, sgd; did you mean 'sgd'?"),
        ({"target": "x"}, "--target: got 'x', allowed: adam, sgd"),
        ({"axes": ("stepp",)}, "--axis: got 'stepp'.*did you mean 'step'"),
        (
            {"axes": ("cost",)},
            "got cost: the cost of 2 configurations is not measured; to measure: sobench bench cells EXP",
        ),
        ({"metric": "train_los"}, "--metric: got train_los, which no run of mnist recorded.*train_loss"),
        ({"methods": ("sgd", "kfac")}, r"compare: got 'kfac', which has no finished run .*; allowed: adam, sgd"),
        ({"methods": ("sgd",)}, "compare: sgd has finished runs; allowed: two methods at least"),
    ],
)
def test_a_wrong_word_is_one_line(tmp_path, options, line):
    runs = made(tmp_path, {("sgd", 0.1): [0.5], ("adam", 0.1): [0.5]})
    with pytest.raises(UsageError, match=line):
        compared(tmp_path, runs, **options)


def test_disturbed_times_are_no_axis(tmp_path):
    runs = made(tmp_path, {("sgd", 0.1): [0.5], ("adam", 0.1): [0.5]})
    for run in runs[:1]:
        put(tmp_path, run, falling(0.5), timing={"quality": "contended"})
    assert compared(tmp_path, runs).axes == ("step", "work")
    with pytest.raises(UsageError, match=r"--axis: got seconds: other work disturbed 1 run \(1 contended\)"):
        compared(tmp_path, runs, axes=("seconds",))


def test_the_files_give_the_same_study(tmp_path):
    runs = made(tmp_path, {("sgd", 0.1): [0.5, None, 0.4], ("adam", 0.1): [0.25, 0.9, 0.25]})
    found = compared(tmp_path, runs)
    about, outcomes = studies.to_json(found), studies.to_csv(found)
    again = studies.read(about, outcomes)
    assert (studies.to_json(again), studies.to_csv(again)) == (about, outcomes)
    np.testing.assert_array_equal(again.problems[0].times("step", "adam"), found.problems[0].times("step", "adam"))


def of_scheme_2(text: str) -> str:
    return text.replace('"scheme": 1', '"scheme": 2')


@pytest.mark.parametrize("damage", [lambda text: "[]", lambda text: "{}", of_scheme_2])
def test_damaged_files_are_refused(tmp_path, damage):
    found = compared(tmp_path, made(tmp_path, {("sgd", 0.1): [0.5], ("adam", 0.1): [0.5]}))
    about, outcomes = studies.to_json(found), studies.to_csv(found)
    assert json.loads(about)["scheme"] == 1
    with pytest.raises(ValueError):
        studies.read(damage(about), outcomes)
    with pytest.raises(ValueError):
        studies.read(about, outcomes.replace("step_end", "step_and"))
