import json
import math
import os

import pytest
from matplotlib.figure import Figure
from run_tree import OF_A_PAPER, a_run, evals, put, row

from sobench.errors import Failure, UsageError
from sobench.report.draft import drafted
from sobench.report.evidence import Evidence
from sobench.report.figures.curve import draw
from sobench.report.figures.style import PALETTE, colours
from sobench.report.schema.catalogue import read
from sobench.report.writer import write
from sobench.results.collection import collect
from sobench.system.heartbeat import who

METHODS = ("sgd", "newton", "hf_newton")


def tree(root, diverged=()):
    runs = [a_run(method, seed) for method in METHODS for seed in range(2)]
    for run in runs:
        name = run.config["optimizer"]["name"]
        train = [
            row("train", step, loss=2 / step + run.seed / 10, seconds=step * (0.1 + run.seed / 50))
            for step in range(2, 21, 2)
        ]
        end = 5 if name in diverged else 10
        put(
            root,
            run,
            train[:end] + evals("test_accuracy", 0.1, 0.8 + run.seed / 50, 0.9 + run.seed / 50),
            "diverged" if name in diverged else "done",
            parameters_sha256="feed",
        )
    return runs


def panel_axes(folder, root, runs, index, **shared):
    evidence = Evidence(read("a/one", folder=folder), collect(runs, root))
    axes = Figure().subplots()
    draw(axes, evidence.report.figure.panels[index], evidence, colours(evidence.report, folder=folder))
    return axes


def test_a_report_is_written_whole(folder, tmp_path):
    runs = tree(tmp_path / "runs")
    written = write("a/one", runs, tmp_path / "runs", tmp_path / "out", folder=folder)
    assert [path.name for path in written] == OF_A_PAPER
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(OF_A_PAPER)  # no draft is left
    page = (tmp_path / "out" / "report.md").read_text()
    for part in (
        "# Test & train of all",
        "a paper, table 1",
        "Data: mnist",
        "cpu: 7 epochs",
        "6 of 6",
        "| SGD |",
        "figure.png",
        "Hessian-free is the best.",
        "of the three",
        "One note.",
    ):
        assert part in page
    assert (tmp_path / "out" / "figure.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "out" / "figure.pdf").read_bytes().startswith(b"%PDF")


def test_the_same_runs_give_the_same_bytes(folder, tmp_path):
    runs = tree(tmp_path / "runs", diverged=("newton",))
    written = [write("a/one", runs, tmp_path / "runs", tmp_path / out, folder=folder) for out in ("1", "2")]
    first, again = ({path.name: path.read_bytes() for path in paths} for paths in written)
    assert first == again
    assert b"CreationDate" not in first["figure.pdf"]


def test_provenance_names_every_run_also_the_missing(folder, tmp_path):
    runs = tree(tmp_path / "runs") + [a_run("sgd", 2)]
    write("a/one", runs, tmp_path / "runs", tmp_path / "out", folder=folder)
    origin = json.loads((tmp_path / "out" / "provenance.json").read_text())
    assert [run["id"] for run in origin["runs"]] == [run.id for run in runs]
    assert origin["seeds"] == {"found": 6, "expected": 7} and origin["states"] == {"done": 6, "missing": 1}
    assert origin["data"] == ["mnist"] and origin["budgets"][0]["epochs"] == 7
    assert origin["environments"]["commit"] == ["abc"] and origin["runs"][0]["parameters_sha256"] == "feed"
    assert origin["runs"][-1]["status"] == "missing"


def test_drafts_of_dead_processes_go_and_those_of_living_ones_stay(tmp_path):
    dead, begun = tmp_path / ".draft-dead", tmp_path / ".draft-begun"
    for path in (dead, begun):
        path.mkdir()
    (dead / "holder.json").write_text(json.dumps(who()))  # nobody has its lock
    with drafted(tmp_path, ()) as living, drafted(tmp_path, ()) as other:
        assert {path.name for path in tmp_path.iterdir()} == {living.name, other.name, begun.name}
    os.utime(begun, (0, 0))
    with drafted(tmp_path, ()):
        pass
    assert not [*tmp_path.iterdir()]


def test_a_full_disk_is_one_line_and_the_old_report_stays(tmp_path):
    (tmp_path / "report.md").write_text("old")
    with (
        pytest.raises(Failure, match=r"^reports: cannot write .*: No space left on device$"),
        drafted(tmp_path, ["report.md"]) as draft,
    ):
        (draft / "report.md").symlink_to("/dev/full")
        (draft / "report.md").write_text("new")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


def test_without_a_finished_run_the_command_that_makes_them_is_named(folder, tmp_path):
    runs = [a_run("sgd"), a_run("newton")]
    put(tmp_path / "runs", runs[0], evals("test_accuracy", 0.1), None)
    with pytest.raises(UsageError, match="sobench reproduce a/one budget=cpu"):
        write("a/one", runs, tmp_path / "runs", tmp_path / "out", folder=folder)
    assert not (tmp_path / "out").exists()


def test_what_an_earlier_description_wrote_is_removed(folder, tmp_path):
    runs = tree(tmp_path / "runs")
    write("a/one", runs, tmp_path / "runs", tmp_path / "out", folder=folder)
    path = folder / "a" / "one.yaml"
    path.write_text(path.read_text().split("claims:")[0])
    (tmp_path / "out" / "mine.txt").write_text("kept")
    names = {path.name for path in write("a/one", runs, tmp_path / "runs", tmp_path / "out", folder=folder)}
    assert {path.name for path in (tmp_path / "out").iterdir()} == names | {"mine.txt"}
    assert "claims.md" not in names and "table.csv" in names


def test_two_configurations_under_one_name_are_refused(folder, tmp_path):
    runs = tree(tmp_path / "runs") + [a_run("sgd", 0, lr=0.7)]
    with pytest.raises(UsageError, match=r"methods.sgd.where: fits 2 configurations"):
        write("a/one", runs, tmp_path / "runs", tmp_path / "out", folder=folder)


def test_a_panel_draws_mean_band_and_published_level(folder, tmp_path):
    runs = tree(tmp_path / "runs")
    axes = panel_axes(folder, tmp_path / "runs", runs, 1)
    solid = [line for line in axes.lines if line.get_linestyle() == "-"]
    assert [line.get_label() for line in solid] == ["SGD", "Newton's", "Hessian-free"]
    assert solid[0].get_ydata()[-1] == pytest.approx(0.91)  # of 0.90 and 0.92
    assert len(axes.collections) == 3
    low, high = axes.collections[0].get_datalim(axes.transData).intervaly
    assert high == pytest.approx(0.92) and low == pytest.approx(0.1)  # standard error of 0.90, 0.92 is 0.01
    assert [line.get_ydata()[0] for line in axes.lines if line not in solid] == [0.91]


def test_smoothing_and_the_axis_are_stated(folder, tmp_path):
    runs = tree(tmp_path / "runs")
    axes = panel_axes(folder, tmp_path / "runs", runs, 0)
    assert "mean of the last 20 steps" in axes.get_ylabel() and axes.get_xlabel() == "steps"
    assert axes.get_yscale() == "log" and axes.get_title(loc="left") == "by steps"
    expected = math.fsum(2 / step + 0.05 for step in range(2, 21, 2)) / 10
    assert axes.lines[0].get_ydata()[-1] == pytest.approx(expected)


def test_a_method_that_only_diverged_is_dashed_with_a_cross_and_named(folder, tmp_path):
    runs = tree(tmp_path / "runs", diverged=("newton",))
    axes = panel_axes(folder, tmp_path / "runs", runs, 0)
    line = next(line for line in axes.lines if line.get_label() == "Newton's")
    assert line.get_linestyle() == "--"
    assert any(line.get_marker() == "x" and line.get_xdata()[0] == 10 for line in axes.lines)


def test_a_method_has_one_colour_in_all_reports_of_a_paper(folder):
    other = (folder / "a" / "one.yaml").read_text().replace("  sgd: SGD\n", "  zeta: Z\n  sgd: SGD\n")
    (folder / "a" / "two.yaml").write_text(other)
    one, two = (colours(read(name, folder=folder), folder=folder) for name in ("a/one", "a/two"))
    assert {name: one[name] for name in METHODS} == {name: two[name] for name in METHODS}
    assert len({str(style) for style in two.values()}) == 4 and two["sgd"]["color"] == PALETTE[0]
