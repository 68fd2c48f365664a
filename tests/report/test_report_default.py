"""The report of any sweep: the best configuration of each optimizer, by which metric, and what it says about it."""

from __future__ import annotations

import csv
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from run_tree import a_run, put, row

from sobench.report import again, default
from sobench.report.evidence import Evidence
from sobench.report.figures.sensitivity import best_by_value, draw
from sobench.report.figures.style import colours
from sobench.report.schema.catalogue import as_yaml, read_file
from sobench.report.schema.panels import Panel, Sensitivity
from sobench.report.writer import FILES, write_described
from sobench.results.collection import collect

pytestmark = pytest.mark.usefixtures("no_pdf")

Scores = dict[tuple[str, float], list[float | None]]
"""By optimizer and learning rate, the last test accuracy of each seed; None: the run diverged."""

SCORES: Scores = {
    ("sgd", 0.1): [0.5, 0.6],
    ("sgd", 1.0): [0.8, 0.9],
    ("adam", 0.01): [0.9, 0.7],
    ("adam", 0.1): [0.95, None],
    ("adam", 1.0): [0.3, 0.2],
}


def evaluated(last: float, **more: float) -> list[dict]:
    """The evaluations of a run that ends at an accuracy."""
    rows = [row("eval", step, test_accuracy=last * step / 20, train_loss=2 - last * step / 20) for step in (0, 10, 20)]
    return [r | more for r in rows]


def made(root: Path, scores: Scores, **more) -> list:
    """The runs of these scores, with their records."""
    runs = []
    for (optimizer, lr), values in scores.items():
        for seed, value in enumerate(values):
            run = a_run(optimizer, seed, lr=lr, **more)
            put(root, run, evaluated(0.1 if value is None else value), "diverged" if value is None else "done")
            runs.append(run)
    return runs


def described(root: Path, runs: list):
    """The report of runs of one problem, and their results."""
    results = collect(runs, root, default.wanted(runs).__contains__)
    (problem,) = default.problems(results.runs)
    return default.describe(results, problem, problem.name), results


def chosen(report) -> dict[str, object]:
    return {name: method.where.get("optimizer.lr") for name, method in report.methods.items()}


def texts(report) -> str:
    return "\n".join(note.text for note in report.notes)


def test_each_optimizer_is_shown_at_the_best_mean_of_the_settings_that_finished(tmp_path):
    runs = made(tmp_path / "runs", SCORES)
    report, results = described(tmp_path / "runs", runs)
    assert chosen(report) == {"sgd": 1.0, "adam": 0.01}  # adam at 0.1 has a diverged seed
    assert [method.label for method in report.methods.values()] == ["sgd (lr 1)", "adam (lr 0.01)"]
    write_described(report, results, tmp_path / "out", "sobench reproduce", ())
    with (tmp_path / "out/table.csv").open() as file:
        cells = {line["method"]: line for line in csv.DictReader(file) if line["metric"] == "test_accuracy"}
    assert float(cells["sgd"]["mean"]) == pytest.approx(0.85) and float(cells["adam"]["mean"]) == pytest.approx(0.8)
    assert float(cells["sgd"]["stderr"]) == pytest.approx(np.std([0.8, 0.9], ddof=1) / math.sqrt(2))
    assert cells["adam"]["n"] == cells["adam"]["expected"] == "2" and cells["sgd"]["rank"] == "best"
    assert "sgd (lr 1), adam (lr 0.01): the best lies on the edge" in texts(report) and "1 of 3 of adam" in texts(
        report
    )
    assert "2 of sgd, 3 of adam" in texts(report)
    page = (tmp_path / "out/report.md").read_text()
    assert "highest test accuracy at the end" in page and "optimistic" in page
    assert "| sgd | **lr 1** | **0.85 ± 0.05** | **2/2** |" in page and "diverged 1/2" in page
    with (tmp_path / "out/settings.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 5 and [line["optimizer.lr"] for line in lines if line["shown"] == "1"] == ["1.0", "0.01"]


SCORE = st.lists(st.one_of(st.none(), st.integers(0, 100).map(lambda n: n / 100)), min_size=2, max_size=2)


@settings(max_examples=25, deadline=None)
@given(st.dictionaries(st.sampled_from([0.01, 0.1, 1.0, 10.0]), SCORE, min_size=1))
def test_no_setting_of_which_every_seed_finished_is_better_than_the_chosen_one(tmp_path_factory, values):
    root = tmp_path_factory.mktemp("runs")
    report, _ = described(root, made(root, {("sgd", lr): scores for lr, scores in values.items()}))
    finished = {lr: sum(scores) for lr, scores in values.items() if None not in scores}
    lr = chosen(report)["sgd"] if len(values) > 1 else next(iter(values))
    if finished:
        assert finished[lr] == max(finished.values())
    else:
        assert values[lr].count(None) == min(scores.count(None) for scores in values.values())


def test_a_validation_metric_decides_and_the_test_metric_is_shown(tmp_path):
    runs = []
    for lr, validation in ((0.1, 0.9), (1.0, 0.4)):
        run = a_run("sgd", lr=lr, validation=0.1)
        put(tmp_path / "runs", run, evaluated(lr / 2, validation_accuracy=validation))
        runs.append(run)
    report, results = described(tmp_path / "runs", runs)
    assert chosen(report) == {"sgd": 0.1} and report.choice.metric == "validation_accuracy"
    assert [column.metric for column in report.columns][:2] == ["test_accuracy", "validation_accuracy"]
    assert "One seed of every method" in texts(report)
    write_described(report, results, tmp_path / "out", "sobench reproduce", ())
    assert "test metric did not take part" in (tmp_path / "out/report.md").read_text()


def test_a_regression_is_chosen_by_the_lowest_error(tmp_path):
    runs = []
    for lr, error in ((0.1, 3.0), (1.0, 2.0)):
        run = a_run("sgd", lr=lr)
        put(tmp_path, run, [row("eval", 10, test_mse=error, test_loss=error / 2, train_loss=1 / error)])
        runs.append(run)
    report, _ = described(tmp_path, runs)
    assert chosen(report) == {"sgd": 1.0} and report.choice.better == "lower"


def test_without_a_choice_there_is_no_section_about_one(tmp_path):
    report, results = described(tmp_path, made(tmp_path, {("sgd", 0.1): [0.5, 0.6], ("adam", 0.1): [0.4, 0.5]}))
    assert report.choice is None and [method.label for method in report.methods.values()] == ["sgd", "adam"]
    assert all(isinstance(panel, Panel) for panel in report.panels)
    assert Evidence(report, results).asked(report.columns) == report.columns


def test_it_is_made_again_from_its_own_description_without_the_runs(tmp_path):
    report, results = described(tmp_path / "runs", made(tmp_path / "runs", SCORES))
    out = tmp_path / "out"
    write_described(report, results, out, "sobench reproduce optimizer=sgd,adam", ())
    shutil.rmtree(tmp_path / "runs")
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    assert {*before} == {*FILES} - {"claims.md", "claims.csv"} and again.differences(out) == []
    again.remake(out)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    (out / "description.yaml").write_text(before["description.yaml"].decode().replace("label: adam", "label: Adam"))
    assert any("table.md" in line for line in again.differences(out))
    again.remake(out)
    assert "Adam (lr 0.01)" in (out / "report.md").read_text() and again.replaceable_runs(out) == set()


def test_the_description_is_read_back_as_it_was_made(tmp_path):
    report, _ = described(tmp_path / "runs", made(tmp_path / "runs", SCORES))
    path = tmp_path / "description.yaml"
    path.write_text(as_yaml(report))
    assert read_file(path, report.id, report.file) == report


def test_a_hyperparameter_that_is_a_list_selects_its_own_runs(tmp_path):
    runs = []
    for betas, score in (([0.9, 0.99], 0.5), ([0.9, 0.999], 0.7)):
        run = a_run("adam", cell=f"{betas[1] * 1000:012.0f}")
        run.config["optimizer"]["betas"] = betas
        put(tmp_path, run, evaluated(score))
        runs.append(run)
    report, results = described(tmp_path, runs)
    (run,) = Evidence(report, results).runs("adam", {})
    assert run.config["optimizer"]["betas"] == [0.9, 0.999]
    assert report.methods["adam"].label == "adam (betas [0.9, 0.999])"


def test_a_line_of_sensitivity_has_the_best_of_each_value(tmp_path):
    scores = {(0.1, 1.0): 0.5, (0.1, 2.0): 0.6, (1.0, 1.0): 0.9, (1.0, 2.0): 0.2}
    runs = []
    for (lr, damping), score in scores.items():
        run = a_run("kfac", lr=lr, damping=damping)
        put(tmp_path, run, evaluated(score))
        runs.append(run)
    report, results = described(tmp_path, runs)
    panels = {panel.x: panel for panel in report.panels if isinstance(panel, Sensitivity)}
    assert {*panels} == {"optimizer.lr", "optimizer.damping"}
    evidence = Evidence(report, results)
    for key, expected in (("optimizer.lr", {0.1: 0.6, 1.0: 0.9}), ("optimizer.damping", {1.0: 0.9, 2.0: 0.6})):
        points = best_by_value(evidence, panels[key], "kfac")
        assert {x: trial.score.mean for x, trial in points.items()} == pytest.approx(expected)
    assert (panels["optimizer.lr"].x_scale, panels["optimizer.damping"].x_scale) == ("log", "linear")


def test_a_diverged_value_is_a_cross_on_the_frame_of_the_worse_side(tmp_path):
    from matplotlib.figure import Figure as Sheet

    report, results = described(tmp_path, made(tmp_path, {**SCORES, ("sgd", 10.0): [None, None]}))
    evidence = Evidence(report, results)
    (panel,) = [panel for panel in report.panels if isinstance(panel, Sensitivity)]
    axes = Sheet().subplots()
    entries = draw(axes, panel, evidence, colours(report))
    crosses = [line for line in axes.lines if line.get_marker() == "x"]
    assert sorted(x for line in crosses for x in line.get_xdata()) == [0.1, 10.0]
    assert {y for line in crosses for y in line.get_ydata()} == {min(axes.get_ylim())}  # accuracy: lower is worse
    lines = {tuple(line.get_xdata()): tuple(line.get_ydata()) for line in axes.lines if line not in crosses}
    assert lines[0.1, 1.0] == pytest.approx((0.55, 0.85)) and lines[0.01, 1.0] == pytest.approx((0.8, 0.25))
    assert [*entries] == ["sgd (lr 1)", "adam (lr 0.01)"]


def test_problems_are_data_set_and_model_and_never_mixed():
    runs = [
        a_run(optimizer, dataset=dataset, widths=widths)
        for dataset in ("digits", "mnist")
        for widths in ((10,), (20, 20))
        for optimizer in ("sgd", "adam")
    ]
    found = default.problems(runs)
    assert [problem.name for problem in found] == [
        "digits-mlp-widths-10",
        "digits-mlp-widths-20-20",
        "mnist-mlp-widths-10",
        "mnist-mlp-widths-20-20",
    ]
    assert found[1].title == "digits, mlp (widths [20, 20])" and all(len(problem.runs) == 2 for problem in found)


def budget(epochs: int) -> dict:
    return {"name": "cpu", "epochs": epochs, "steps": None, "seconds": None}


def test_budgets_of_one_optimizer_are_problems_and_budgets_of_several_are_not():
    swept = [a_run("sgd", budget=budget(epochs), cell=f"{epochs:012}") for epochs in (1, 5)]
    assert [problem.title for problem in default.problems(swept)] == ["mnist, mlp (epochs 1)", "mnist, mlp (epochs 5)"]
    own = [a_run("sgd", budget=budget(5)), a_run("kfac", budget=budget(1))]
    (problem,) = default.problems(own)
    assert problem.name == "mnist-mlp"


@pytest.mark.parametrize(("disturbed", "axis"), [(False, "seconds"), (True, "work")])
def test_time_is_an_axis_only_if_every_run_was_quiet(tmp_path, disturbed, axis):
    runs = made(tmp_path, {("sgd", 0.1): [0.5], ("adam", 0.1): [0.6]})
    timing = {"quality": "contended"} if disturbed else {"quality": "quiet"}
    put(tmp_path, runs[0], evaluated(0.5), timing=timing)
    report, _ = described(tmp_path, runs)
    assert [panel.x for panel in report.panels if isinstance(panel, Panel)] == ["epoch", "epoch", axis, axis]
