"""Texts of a figure: each method and mark has an entry of its own, and every character is shown as it is written."""

import pytest
from matplotlib.figure import Figure
from run_tree import a_run, evals, put, row

from sobench.errors import UsageError
from sobench.report.evidence import Evidence
from sobench.report.figures.figure import figure
from sobench.report.schema.catalogue import read
from sobench.results.collection import collect

REPORT = """
title: Labels
source: a paper
experiment: a/grid
methods:
  sgd: {label: SGD}
  newton: {label: %s, where: {optimizer: newton, optimizer.lr: 0.1}}
figure:
  panels:
    - {x: step, y: test_accuracy, label: '%s', title: '%s', published: {sgd: 0.91}}
    - {kind: contour, method: sgd, metric: test_accuracy, label: '%s', x_label: '%s'}
"""


def drawn(folder, tmp_path, monkeypatch, newton: str, text: str = "Accuracy") -> tuple[Figure, list[tuple[str, str]]]:
    """The figure of two methods, and the text and the colour of each entry of its legend."""
    (folder / "a" / "labels.yaml").write_text(REPORT % (newton, *[text.replace("'", "''")] * 4))
    runs = [a_run(name, seed) for name in ("sgd", "newton") for seed in range(2)]
    for run in runs:
        put(tmp_path / "runs", run, [row("train", 2, loss=1.0), *evals("test_accuracy", 0.1, 0.8, 0.9)])
    sheets = []
    monkeypatch.setattr(Figure, "savefig", lambda sheet, *args, **options: sheets.append(sheet))
    figure(Evidence(read("a/labels", folder=folder), collect(runs, tmp_path / "runs")), tmp_path, folder=folder)
    (legend,) = sheets[0].legends
    entries = zip(legend.get_texts(), legend.legend_handles, strict=True)
    sheets[0].draw_without_rendering()  # here a wrong formula fails
    return sheets[0], [(text.get_text(), str(handle.get_color())) for text, handle in entries]


@pytest.mark.parametrize("label", ["published", "tried", "best"])
def test_a_method_has_an_entry_of_its_own_beside_a_mark_of_the_same_text(folder, tmp_path, monkeypatch, label):
    _, entries = drawn(folder, tmp_path, monkeypatch, label)
    assert [text for text, _ in entries] == ["SGD", label, "tried", "best", "published"]
    assert len({colour for text, colour in entries if text == label}) == 2
    assert entries[1][1] != entries[0][1]


def test_two_methods_with_one_label_are_refused_with_a_label_that_tells_them_apart(folder, tmp_path, monkeypatch):
    with pytest.raises(UsageError) as caught:
        drawn(folder, tmp_path, monkeypatch, "' SGD  '")
    assert str(caught.value) == (
        "conf/report/a/labels.yaml: methods.newton.label: got 'SGD', the label of sgd; "
        "allowed: a label of its own, such as 'SGD (optimizer newton)'"
    )


@pytest.mark.parametrize(
    "text", ["cost $x_$ and $y^$", "50% of a_b & c^2 ~ #1 {x}", "a $ alone", r"$\frac{1$", r"\$5 or $6"]
)
def test_characters_of_formulas_are_shown_as_they_are(folder, tmp_path, monkeypatch, text):
    sheet, entries = drawn(folder, tmp_path, monkeypatch, f"'{text}'", text)
    curve, contour, bar = sheet.axes
    shown = [entries[1][0], curve.get_ylabel(), curve.get_title(loc="left"), contour.get_xlabel(), bar.get_ylabel()]
    for string in shown:
        assert string.replace(r"\$", "$") == text
        assert "$" not in string.replace(r"\$", "")
