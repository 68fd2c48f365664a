"""Runs that shared their GPU or were contended: kept out of times, and of nothing else, unless the report says
otherwise."""

import json
import math

import pytest
from judging import verdict_on
from matplotlib.figure import Figure
from run_tree import a_run, evals, put, row

from sobench.errors import UsageError
from sobench.report import provenance, table
from sobench.report.columns import of as columns_of
from sobench.report.evidence import Evidence
from sobench.report.figures import contour, curve, legend
from sobench.report.schema.catalogue import read
from sobench.report.schema.panels import Contour, Panel
from sobench.report.schema.spec import Column, Method, Reach, Report, Table
from sobench.report.schema.spec import Figure as Sheet
from sobench.report.writer import write
from sobench.results import load, step_costs
from sobench.results.collection import collect

METHODS = {name: Method(name, {"optimizer": name}) for name in ("sgd", "newton", "hf_newton")}


def tree(root, shared: dict[str, list[bool]], **settings):
    """Seeds 0, 1, ... of each method, by whether they shared their GPU: then a step takes 100 s."""
    runs = [a_run(name, seed, **settings) for name, seeds in shared.items() for seed in range(len(seeds))]
    for run in runs:
        alone = not shared[run.config["optimizer"]["name"]][run.seed]
        step_seconds = 1.0 + run.seed / 10 if alone else 100.0
        rows = [*evals("test_accuracy", 0.1, 0.8, 0.9 + run.seed / 100), row("train", 10, loss=2.0)]
        timed = [r | {"seconds": r["step"] * step_seconds} for r in rows]
        put(root, run, timed, shared=not alone, timing={"quality": "quiet"})
    return runs


def evidence(root, runs, timing="alone", **parts) -> Evidence:
    return Evidence(
        Report("t", "s", "e", METHODS, timing=timing, id="p/x", file="p/x.yaml", **parts), collect(runs, root)
    )


def columns(root, runs, *columns: Column, **more):
    found = table.contents(evidence(root, runs, table=Table(list(columns)), **more))
    return {row.method: [(round(cell.ours.mean, 3), cell.ours.gap) for cell in row.cells] for row in found.rows}


def test_the_frame_says_which(tmp_path):
    tree(tmp_path, {"sgd": [True, False]})
    put(tmp_path, a_run("newton"), evals("test_accuracy", 0.1))  # made before anything shared
    found = load(tmp_path).groupby(["optimizer", "seed"], observed=True)["shared"].first().to_dict()
    assert found[("sgd", 0)] == 1 and found[("sgd", 1)] == 0 and math.isnan(found[("newton", 0)])


@pytest.mark.parametrize(
    "column",
    [
        Column("seconds", "t"),
        Column("seconds_per_step", "t"),
        Column("total_seconds", "t"),
        Column("process_seconds", "t"),
        Column("warm_start_seconds", "t"),
        Column("product_seconds/autograd", "t"),
        Column("step", "t", reach=Reach("seconds", at_least=5)),
        Column("seconds", "t", reach=Reach("test_accuracy", at_least=0.8)),
        Column("test_accuracy", "t", at={"seconds": 15}),
        Column("test_accuracy", "t", at={"lowest": "seconds"}),
    ],
)
def test_a_column_of_times_leaves_them_out(tmp_path, column):
    runs = tree(tmp_path, {"sgd": [True, False, False]})
    ((_, gap),) = columns(tmp_path, runs, column)["sgd"]
    assert "shared 1/3" in gap
    ((_, gap),) = columns(tmp_path, runs, column, timing="shared")["sgd"]
    assert "shared" not in gap


@pytest.mark.parametrize("quality, gap", [("contended", "contended 1/2"), ("quiet", ""), ("unknown", ""), (None, "")])
def test_contended_runs_are_left_out_alike(tmp_path, quality, gap):
    runs = [a_run("sgd", seed) for seed in (0, 1)]
    timing = {"timing": {"quality": quality, "factor": 2.0}} if quality else {}  # older runs have no judgement
    for run in runs:
        put(
            tmp_path,
            run,
            evals("test_accuracy", 0.1, 0.9),
            **(timing if run.seed else {"timing": {"quality": "quiet"}}),
        )
    both = Column("seconds", "t"), Column("test_accuracy", "a")
    assert columns(tmp_path, runs, *both)["sgd"] == [(1.0, gap), (0.9, "")]
    assert columns(tmp_path, runs, *both, timing="shared")["sgd"] == [(1.0, ""), (0.9, "")]
    told = "left out of seconds: 1 contended run, beside other work on the machine"
    assert provenance.timing(evidence(tmp_path, runs)) == (told if gap else None)


def test_a_run_on_a_shared_gpu_counts_once(tmp_path):
    run = a_run("sgd")
    put(tmp_path, run, evals("test_accuracy", 0.1), shared=True, timing={"quality": "contended", "factor": 2.0})
    assert provenance.timing(evidence(tmp_path, [run])) == "left out of seconds: 1 run that shared its GPU"


def test_only_times_are_left_out(tmp_path):
    runs = tree(tmp_path, {"sgd": [True, False, False], "newton": [True, True, True]})
    both = Column("seconds_per_step", "t", better="lower"), Column("test_accuracy", "a", better="higher")
    found = columns(tmp_path, runs, *both)
    assert found["sgd"] == [(1.15, "shared 1/3"), (0.91, "")]
    assert (
        found["newton"][0][1] == "shared 3/3" and math.isnan(found["newton"][0][0]) and found["newton"][1] == (0.91, "")
    )
    assert columns(tmp_path, runs, *both, timing="shared")["sgd"] == [(34.1, ""), (0.91, "")]


def test_a_run_that_seconds_ended_is_left_out_of_everything(tmp_path):
    runs = tree(tmp_path, {"sgd": [True, False]}, budget={"name": "cpu", "epochs": None, "steps": None, "seconds": 5})
    assert columns(tmp_path, runs, Column("test_accuracy", "a"))["sgd"] == [(0.91, "shared 1/2")]
    assert columns(tmp_path, runs, Column("test_accuracy", "a"), timing="shared")["sgd"] == [(0.905, "")]


def test_a_claim_about_time_is_not_judged_by_them(tmp_path):
    runs = tree(tmp_path, {"sgd": [True, True] + [False] * 6, "newton": [False] * 8})
    ratio = {"kind": "ratio", "subject": "sgd", "rivals": ["newton"], "at_most": 1.1}
    found = verdict_on(runs, tmp_path, METHODS, metric="seconds_per_step", **ratio)
    assert (found.verdict, found.n, found.expected) == ("holds", 6, 8) and found.effect == pytest.approx(1.0)
    reached = verdict_on(runs, tmp_path, METHODS, metric="seconds", reach=Reach("test_accuracy", at_least=0.8), **ratio)
    assert (reached.verdict, reached.n) == ("holds", 6)
    assert verdict_on(runs, tmp_path, METHODS, metric="test_accuracy", **ratio).n == 8
    robust = {"kind": "robust", "subject": "sgd", "times": 1.5, "share": 0.9}
    assert verdict_on(runs, tmp_path, METHODS, metric="seconds_per_step", **robust).n == 6


def test_a_curve_against_seconds_is_drawn_without_them(tmp_path, folder):
    runs = tree(tmp_path, {"sgd": [True, False], "newton": [True, True]})
    panels = [Panel(x, "test_accuracy", "a") for x in ("seconds", "step")]
    found = evidence(tmp_path, runs, figure=Sheet(panels))
    styles = {name: {"color": "black"} for name in METHODS}
    drawn = {}
    for panel in panels:
        curve.draw(axes := Figure().subplots(), panel, found, styles)
        drawn[panel.x] = {line.get_label(): max(line.get_xdata()) for line in axes.lines if line.get_label() in METHODS}
    assert drawn == {"seconds": {"sgd": pytest.approx(22.0)}, "step": {"sgd": 20, "newton": 20}}
    assert legend.text(found, "sgd").startswith("sgd (") and "shared 1/2" in legend.text(found, "sgd")


def test_contours_of_a_time_are_without_them(tmp_path):
    runs = [a_run("sgd", lr=lr, damping=damping) for lr in (0.1, 1.0) for damping in (0.1, 1.0)]
    for run in runs:
        put(tmp_path, run, evals("test_accuracy", 0.1, 0.2), shared=run.config["optimizer"]["lr"] == 1.0)
    panel = Contour("sgd", "seconds", "t")
    entries = contour.draw(Figure().subplots(), panel, evidence(tmp_path, runs, figure=Sheet([panel])), {})
    assert "not every seed is finished" in entries


@pytest.mark.parametrize(
    "timing, line",
    [
        ("", "left out of seconds: 2 runs that shared their GPU"),
        ("timing: shared\n", "counted in seconds: 2 runs that shared their GPU"),
    ],
)
def test_the_report_says_so_in_one_line(folder, tmp_path, timing, line):
    path = folder / "a" / "one.yaml"
    path.write_text(timing + path.read_text())
    runs = tree(tmp_path / "runs", {"sgd": [True, False], "newton": [False, False], "hf_newton": [True, False]})
    write("a/one", runs, tmp_path / "runs", tmp_path / "out", folder=folder)
    page = (tmp_path / "out" / "report.md").read_text()
    assert [found for found in page.splitlines() if "shared their" in found] == [f"- Timing: {line}"]
    assert json.loads((tmp_path / "out" / "provenance.json").read_text())["timing"] == line
    assert ("shared 1/2" in page) is (timing == "")


def test_a_report_of_runs_that_shared_nothing_says_nothing(folder, tmp_path):
    runs = tree(tmp_path / "runs", {"sgd": [False]})
    write("a/one", runs, tmp_path / "runs", tmp_path / "out", folder=folder)
    assert "Timing" not in (tmp_path / "out" / "report.md").read_text()


def test_timing_is_one_of_two_words(folder):
    path = folder / "a" / "one.yaml"
    path.write_text("timing: all\n" + path.read_text())
    with pytest.raises(UsageError, match="timing: got 'all', allowed: alone, shared"):
        read("a/one", folder=folder)


def test_a_panel_against_time_in_which_a_method_has_no_quiet_run_is_against_cost_if_that_is_known(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(step_costs, "identity", lambda settings: {"optimizer": settings["optimizer"]})
    runs, costs = tree(tmp_path, {"sgd": [True] * 2, "newton": [True] * 2}), {"sgd": 1.0, "newton": 7.0}
    panels = [
        Panel(
            "seconds", "test_accuracy", "a", methods=["sgd", "newton"], published={"sgd": [[1.0, 2.0]], "newton": 0.5}
        ),
        Panel("epoch", "test_accuracy", "a", methods=["sgd", "newton"]),
    ]

    def shown():
        report = Report("t", "s", "e", METHODS, figure=Sheet(panels), id="p/x", file="p/x.yaml")
        return Evidence(report, collect(runs, tmp_path, columns_of(report)))

    assert [panel.x for panel in shown().panels] == ["seconds", "epoch"]
    for run in runs:
        cost = {"ratio": costs[run.config["optimizer"]["name"]]}
        step_costs.keep(step_costs.path(tmp_path, run.config), step_costs.machine({}), cost)
        (run.directory(tmp_path) / "environment.json").write_text(json.dumps({"device_name": None}))
    first, second = shown().panels
    assert (first.x, second) == ("cost", panels[1]) and first.published == {"newton": 0.5}
    ends = {method: shown().curves(method, first, "done")[0][1][-1] for method in ("sgd", "newton")}
    assert ends == {"sgd": 20.0, "newton": 140.0}  # of 20 steps
    assert shown().curves("sgd", panels[0], "done") == []
    for run, x in ((runs[0], "cost"), (runs[2], "seconds")):  # a quiet run of one method, and of both
        put(tmp_path, run, evals("test_accuracy", 0.1, 0.9), shared=False)
        assert shown().panels[0].x == x


def test_an_empty_panel_says_that_its_runs_were_disturbed(tmp_path):
    def said(disturbed: bool) -> list[str]:
        runs = tree(tmp_path / str(disturbed), {"sgd": [True] if disturbed else []})
        panel = Panel("seconds", "test_accuracy", "a", methods=["sgd"])
        axes = Figure().subplots()
        shown = evidence(tmp_path / str(disturbed), runs, figure=Sheet([panel]))
        curve.draw(axes, panel, shown, {name: {"color": "black"} for name in METHODS})
        return [text.get_text() for text in axes.texts]

    assert said(True) == ["other work disturbed every run:\ntheir times do not count"]
    assert said(False) == ["no run of this panel is finished"]
