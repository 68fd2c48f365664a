"""One report of several data sets: columns and panels of each, gaps of each, one legend."""

import json

import pytest
from matplotlib.figure import Figure
from run_tree import a_run, evals, put

from sobench.report import formats
from sobench.report.evidence import Evidence
from sobench.report.figures import figure
from sobench.report.schema.catalogue import read
from sobench.report.table import BEST, contents
from sobench.report.writer import write
from sobench.results.collection import collect

THREE = """
title: Three
source: a thesis, table 3.3
experiment: a/three
methods: {sgd: SGD, adam: Adam}
table:
  columns:
    - {metric: train_loss, label: MNIST, better: lower, where: {dataset: mnist}}
    - {metric: train_loss, label: FACES, better: lower, where: {dataset: faces}, published: {sgd: 5.0}}
    - {metric: train_loss, label: CURVES, better: lower, where: {dataset: [curves, curves_synthetic]}}
    - metric: seconds
      label: Time to 1
      better: lower
      where: {dataset: mnist}
      reach: {metric: train_loss, at_most: 1}
figure:
  panels:
    - {x: epoch, y: train_loss, label: Loss, title: MNIST, where: {dataset: mnist}}
    - {x: epoch, y: train_loss, label: Loss, title: FACES, where: {dataset: faces}}
    - {x: epoch, y: train_loss, label: Loss, title: CURVES, where: {dataset: [curves, curves_synthetic]}}
    - {x: seconds, y: train_loss, label: Loss, title: MNIST, where: {dataset: mnist}}
"""


@pytest.fixture
def three(folder):
    (folder / "a" / "three.yaml").write_text(THREE)
    return folder


def tree(root):
    """FACES is missing; of CURVES there is a look-alike, on which Adam was cut; on MNIST it is a seed short."""
    runs = [
        a_run(name, seed, dataset=data)
        for data in ("mnist", "faces", "curves_synthetic")
        for name in ("sgd", "adam")
        for seed in range(2)
    ]
    for run in runs:
        data, adam = run.config["dataset"]["name"], run.config["optimizer"]["name"] == "adam"
        losses = (3.0, 0.5 + run.seed / 10) if adam and data != "mnist" else (3.0, 1.5, 0.9 + run.seed / 10)
        if data != "faces" and not (data == "mnist" and adam and run.seed):
            put(root, run, evals("train_loss", *losses))
    return runs


def evidence(folder, root):
    return Evidence(read("a/three", folder=folder), collect(tree(root), root))


def test_every_column_has_its_own_gaps_cuts_and_ranks(three, tmp_path):
    found = contents(evidence(three, tmp_path))
    sgd, adam = found.rows
    assert [cell.ours.gap for cell in sgd.cells] == ["", "missing 2/2", "", ""]
    assert [cell.ours.gap for cell in adam.cells] == ["missing 1/2", "missing 2/2", "", "missing 1/2"]
    assert [cell.mark for cell in adam.cells] == ["", "", "a", ""]
    assert found.footnotes == {"a": "adam: cut to 10 of 20 steps"}
    assert adam.cells[0].rank == BEST and adam.cells[2].rank is None
    text = formats.to_markdown(found)
    assert "| SGD | <u>0.9500 ± 0.0500</u> | missing 2/2 | 5.0000 | 0.9500 ± 0.0500 |" in text


def test_a_look_alike_is_named_wherever_its_numbers_are(three, tmp_path):
    runs = tree(tmp_path / "runs")
    write("a/three", runs, tmp_path / "runs", tmp_path / "out", folder=three)
    page = (tmp_path / "out" / "report.md").read_text()
    assert "curves\\_synthetic, which stands in for CURVES: rows not recorded" in page
    for name, text in (
        ("table.md", "CURVES (curves\\_synthetic)"),
        ("table.csv", "CURVES (curves_synthetic)"),
        ("table.tex", r"CURVES (curves\_synthetic)"),
    ):
        page = (tmp_path / "out" / name).read_text()
        assert text in page and "FACES (" not in page
    assert json.loads((tmp_path / "out" / "provenance.json").read_text())["data"] == [
        "curves_synthetic",
        "faces",
        "mnist",
    ]


def test_a_loader_of_many_sets_is_named_with_the_set(three, tmp_path):
    run = a_run("sgd", dataset="mnist")
    run.config["dataset"]["set"] = "webspam"
    put(tmp_path / "runs", run, evals("train_loss", 1.0))
    write("a/three", [run], tmp_path / "runs", tmp_path / "out", folder=three)
    assert "Data: mnist (webspam)" in (tmp_path / "out" / "report.md").read_text()


def test_the_time_to_a_level_is_a_column_and_never_reaching_it_a_gap(three, tmp_path):
    cell = contents(evidence(three, tmp_path)).rows[0].cells[3]
    assert (cell.ours.mean, cell.ours.gap) == (2.0, "")  # both seeds end at 1.0 or below, at 2 seconds
    text = (three / "a" / "three.yaml").read_text()
    (three / "a" / "three.yaml").write_text(text.replace("at_most: 1}", "at_most: 0.95}"))
    cell = contents(evidence(three, tmp_path)).rows[0].cells[3]
    assert (cell.ours.mean, cell.ours.gap) == (2.0, "not reached 1/2")


def test_the_legend_has_each_method_once_and_says_which_data_set_lacks_what(three, tmp_path, monkeypatch):
    sheets = []
    monkeypatch.setattr(Figure, "savefig", lambda sheet, path, **more: sheets.append(sheet))
    figure.figure(evidence(three, tmp_path), tmp_path, folder=three)
    sheet = sheets[0]
    assert [text.get_text() for text in sheet.legends[0].get_texts()] == [
        "SGD",
        "Adam (mnist: missing 1/2; curves/curves_synthetic: 10 of 20 steps)",
    ]
    assert [axes.get_title(loc="left") for axes in sheet.axes[:4]] == [
        "MNIST",
        "FACES",
        "CURVES (curves_synthetic)",
        "MNIST",
    ]
    assert [bool(axes.texts) for axes in sheet.axes[:4]] == [False, True, False, False]


def test_a_paper_that_gives_its_methods_other_budgets_marks_none_as_cut(three, tmp_path):
    text = (three / "a" / "three.yaml").read_text()
    (three / "a" / "three.yaml").write_text(text + "budgets: any\n")
    found = contents(evidence(three, tmp_path))
    assert found.footnotes == {} and found.rows[1].cells[2].rank == BEST


def test_what_no_run_was_asked_for_is_left_out_and_named(three, tmp_path):
    """The selection has MNIST alone: the page lacks the others' columns, panels and claims, and names them."""
    claim = (
        "{id: %s-low, text: t, source: s, test: {kind: bound, metric: train_loss, better: lower, subject: sgd, "
        "at_most: 2, where: {dataset: %s}}}"
    )
    (three / "a" / "three.yaml").write_text(
        THREE + "claims:\n" + "".join(f"  - {claim % (d, d)}\n" for d in ("mnist", "faces"))
    )
    runs = [run for run in tree(tmp_path / "runs") if run.config["dataset"]["name"] == "mnist"]
    found = Evidence(read("a/three", folder=three), collect(runs, tmp_path / "runs"))
    assert [panel.title for panel in found.asked(found.report.figure.panels)] == ["MNIST", "MNIST"]
    write("a/three", runs, tmp_path / "runs", tmp_path / "out", folder=three)
    page = (tmp_path / "out" / "report.md").read_text()
    assert "### mnist-low: " in page and "### faces-low" not in page
    assert "Left out, as no run of theirs was asked for: faces-low." in page and "asked for: FACES, CURVES." in page
    nothing = Evidence(found.report, collect([], tmp_path / "runs"))
    assert nothing.asked(found.report.figure.panels) == found.report.figure.panels  # a gap is shown, not hidden
