"""Matrices and profiles of groups of parameters: what is drawn is what the rows say."""

from __future__ import annotations

import numpy as np
from run_tree import a_run, evals, put, row

from sobench.report.evidence import Evidence
from sobench.report.figures.groups import matrix, means
from sobench.report.schema.panels import Heatmap, Profile
from sobench.report.schema.spec import Method, Report
from sobench.report.writer import write
from sobench.results.collection import collect


def rows(root, **columns) -> Evidence:
    """One run, a row at the end of each epoch from 0 on."""
    cells = [dict(zip(columns, values)) for values in zip(*columns.values(), strict=True)]
    put(root, a_run("sgd"), [row("eval", 10 * epoch, **values) for epoch, values in enumerate(cells)])
    return Evidence(Report("t", "s", "e", {"m": Method("M", {"optimizer": "sgd"})}), collect([a_run("sgd")], root))


def test_the_matrix_of_the_evaluation_that_is_asked_for(tmp_path):
    names = {f"H/{s}/{t}": [f"{i}{j}", f"{i}{j}5", "0"] for i, s in enumerate("ab") for j, t in enumerate("xyz")}
    found = rows(
        tmp_path, validation_loss=[3.0, 1.0, 2.0], **{k: [float(v) for v in values] for k, values in names.items()}
    )
    panel = {
        "method": "m",
        "metric": "H/{down}/{across}",
        "down": {"A": "a", "B": "b"},
        "across": {"X": "x", "Y": "y", "Z": "z"},
    }
    assert np.array_equal(matrix(found, Heatmap(**panel, at={"epoch": 0})), [[0, 1, 2], [10, 11, 12]])
    assert np.array_equal(
        matrix(found, Heatmap(**panel, at={"lowest": "validation_loss"})), [[5, 15, 25], [105, 115, 125]]
    )
    assert not matrix(found, Heatmap(**panel)).any()


def test_a_profile_is_the_mean_around_an_epoch_that_was_reached(tmp_path):
    found = rows(tmp_path, **{"eta/a": [0.0, 1.0, 2.0, 3.0, 4.0], "eta/b": [0.0, 10.0, 20.0, 60.0, 0.0]})
    panel = Profile("m", "eta/{across}", "eta", {"A": "a", "B": "b"}, [2, 4], window=[-1, 1])
    assert means(found, panel, 2) == [2.0, 30.0]
    assert means(found, panel, 4) is None


def test_a_figure_of_matrices_alone_has_no_legend(folder, tmp_path):
    """It is drawn, with the evaluation that it asks for, from the first seed."""
    (folder / "a" / "matrices.yaml").write_text(
        "title: T\nsource: s\nexperiment: a/grid\nmethods: {sgd: SGD}\nfigure:\n  panels:\n"
        '    - {kind: heatmap, method: sgd, metric: "{down}_{across}", down: {A: train}, across: {X: loss}, title: M}\n'
    )
    runs = [a_run("sgd", 0)]
    put(tmp_path / "runs", runs[0], evals("train_loss", 3.0, 1.5))
    paths = write("a/matrices", runs, tmp_path / "runs", tmp_path / "out", folder=folder)
    assert (tmp_path / "out" / "figure.png") in paths and "Matrices: of the first seed" in paths[0].read_text()
