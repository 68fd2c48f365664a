"""Several columns of one run as the methods of a report: cosines by step, layers by epoch."""

import csv
import io
import math

import numpy as np
import pytest
from matplotlib.figure import Figure
from run_tree import a_run, evals, put, row

from sobench.report import formats
from sobench.report.evidence import Evidence
from sobench.report.figures.curve import draw
from sobench.report.figures.style import PALETTE, colours
from sobench.report.schema.catalogue import read
from sobench.report.table import contents
from sobench.report.writer import write
from sobench.results.collection import collect

LAYERS = """
title: Layers
source: a thesis, figure 2.1
experiment: a/layers
methods:
  "1": {label: layer 1, where: {optimizer: kbfgs}}
  "2": {label: layer 2, where: {optimizer: kbfgs}}
table:
  columns: [{metric: "ratio/{method}", label: Ratio, rows: train}]
figure:
  panels:
    - {x: epoch, y: "ratio/{method}", rows: train, mean_by: epoch, label: Ratio, title: means}
    - {x: step, y: "ratio/{method}", rows: train, label: Ratio, title: all, methods: ["2"]}
"""


@pytest.fixture
def layers(folder):
    (folder / "a" / "layers.yaml").write_text(LAYERS)
    return folder


def tree(root, seeds=2):
    """Thirty steps, ten an epoch; layer 1 records its step, layer 2 its square, and nothing at the fifth."""
    runs = [a_run("kbfgs", seed) for seed in range(seeds)]
    for run in runs:
        rows = [
            row("train", k, loss=1.0, **{"ratio/1": k + run.seed, "ratio/2": math.nan if k == 5 else float(k**2)})
            for k in range(1, 31)
        ]
        put(root, run, rows)
    return runs


def panel(folder, root, runs, index):
    evidence = Evidence(read("a/layers", folder=folder), collect(runs, root))
    axes = Figure().subplots()
    entries = draw(axes, evidence.report.figure.panels[index], evidence, colours(evidence.report, folder=folder))
    return axes, entries


def test_the_mean_of_each_epoch_a_line_a_layer(layers, tmp_path):
    axes, entries = panel(layers, tmp_path, tree(tmp_path), 0)
    assert list(entries) == ["layer 1", "layer 2"]
    first, second = axes.lines
    assert first.get_xdata().tolist() == [1, 2, 3]
    np.testing.assert_allclose(first.get_ydata(), np.array([5.5, 15.5, 25.5]) + 0.5)  # the mean of two seeds
    squares = [k**2 for k in range(1, 11) if k != 5]
    assert second.get_ydata()[0] == pytest.approx(np.mean(squares))
    assert "mean of each epoch" in axes.get_ylabel()
    assert axes.get_xlabel() == "epochs\n(2 of 120 values undefined, left out)"


def test_a_panel_may_show_some_of_the_series_at_every_step(layers, tmp_path):
    axes, entries = panel(layers, tmp_path, tree(tmp_path), 1)
    assert list(entries) == ["layer 2"]
    assert axes.lines[0].get_ydata()[-1] == 900 and 5 not in axes.lines[0].get_xdata()


def test_a_column_of_a_table_may_be_of_the_series_too(layers, tmp_path):
    found = contents(Evidence(read("a/layers", folder=layers), collect(tree(tmp_path), tmp_path)))
    assert [r.cells[0].ours.mean for r in found.rows] == [30.5, 900.0]
    assert [line["metric"] for line in csv.DictReader(io.StringIO(formats.to_csv(found)))] == ["ratio/1", "ratio/2"]


def test_a_series_that_no_run_recorded_is_said_so(layers, tmp_path):
    run = a_run("kbfgs")
    put(tmp_path, run, [row("train", k, loss=1.0, **{"ratio/1": 1.0}) for k in range(1, 11)])
    _, entries = panel(layers, tmp_path, [run], 0)
    assert list(entries) == ["layer 1", "layer 2 (not recorded)"]


def test_layers_have_their_own_colours_and_take_none_from_the_methods(layers):
    styles = colours(read("a/layers", folder=layers), folder=layers)
    assert [styles[layer]["color"] for layer in "12"] == list(PALETTE[:2])
    others = colours(read("a/one", folder=layers), folder=layers)
    assert others["sgd"]["color"] == PALETTE[0] and "1" not in others
    known = (
        LAYERS.replace('"1": {label: layer 1', "newton: {label: Newton")
        .replace('"2":', "sgd:")
        .replace('["2"]', "[sgd]")
    )
    (layers / "a" / "layers.yaml").write_text(known)
    styles = colours(read("a/layers", folder=layers), folder=layers)
    assert styles["sgd"] == others["sgd"] and styles["newton"] == others["newton"]


def test_the_report_is_written_whole(layers, tmp_path):
    runs = tree(tmp_path / "runs")
    runs.append(a_run("kbfgs", 2))
    put(tmp_path / "runs", runs[2], evals("train_loss", 1.0), None)
    names = [path.name for path in write("a/layers", runs, tmp_path / "runs", tmp_path / "out", folder=layers)]
    assert "figure.png" in names
    assert "interrupted 1/3" in (tmp_path / "out" / "table.md").read_text()
