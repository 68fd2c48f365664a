"""Limits, ticks, styles and legends of figures: what the text is about is in view, and nothing covers anything."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.figure import Figure
from run_tree import a_run, evals, put

from sobench.report import tune_pages
from sobench.report.evidence import Evidence
from sobench.report.figures import overlap, tags
from sobench.report.figures.axis import limits, log_ticks, tick_label
from sobench.report.figures.caption import caption
from sobench.report.figures.curve import draw
from sobench.report.figures.figure import figure
from sobench.report.figures.groups import FLOOR, colour_ticks
from sobench.report.figures.style import colours, common_label
from sobench.report.schema.catalogue import read
from sobench.report.table import contents
from sobench.results.collection import collect

REPORT = """
title: T
source: s
experiment: a/grid
methods: {%s}
table:
  columns: [{metric: train_loss, label: Loss}]
figure:
  columns: 2
  panels:
    - {x: step, y: train_loss, label: Loss, title: By steps}
    - {x: seconds, y: train_loss, label: Loss, title: By time}
"""


def evidence(folder, tmp_path, runs: dict[str, list[list[float]]], labels: dict[str, str] | None = None) -> Evidence:
    """The values of each seed of each method, which takes (seed + 1) seconds for an evaluation."""
    labels = labels or {name: name for name in runs}
    (folder / "a" / "r.yaml").write_text(REPORT % ", ".join(f'{name}: "{label}"' for name, label in labels.items()))
    made = []
    for name, seeds in runs.items():
        for seed, values in enumerate(seeds):
            made.append(a_run(name, seed))
            rows = evals("train_loss", *values)
            if rows:
                put(tmp_path / "runs", made[-1], [row | {"seconds": row["step"] * (seed + 1)} for row in rows])
    return Evidence(read("a/r", folder=folder), collect(made, tmp_path / "runs"))


def lines(found: Evidence, folder, panel: int) -> dict[str, tuple[float, float]]:
    """The end of the line of each method."""
    axes = Figure().subplots()
    draw(axes, found.report.figure.panels[panel], found, colours(found.report, folder=folder))
    return {line.get_label(): line.get_xydata()[-1] for line in axes.lines if tags.kind_of(line) == tags.LINE}


@pytest.mark.parametrize("panel", [0, 1])
def test_each_line_ends_at_the_value_of_the_table(folder, tmp_path, panel):
    runs = {"sgd": [[4.0, 2.0, 1.0], [4.0, 3.0], [4.0, 2.5, 2.0, 1.8, 1.7]], "adam": [[4.0, 0.5], [4.0, 0.9]]}
    found = evidence(folder, tmp_path, runs)
    table = {row.label: row.cells[0].ours.mean for row in contents(found).rows}
    drawn = lines(found, folder, panel)
    assert {name: end[1] for name, end in drawn.items()} == pytest.approx(table)
    assert table["sgd"] == pytest.approx((1.0 + 3.0 + 1.7) / 3)
    if panel == 0:
        assert drawn["sgd"][0] == 40  # where the last run ends


# Limits


def test_the_limits_show_the_later_values_and_not_the_first():
    good, worse = 0.93 - 0.83 * np.exp(-2.0 * np.arange(20)), 0.91 - 0.81 * np.exp(-2.0 * np.arange(20))
    low, high = limits([good[None], worse[None]], [], [], log=False)
    assert 0.8 < low < 0.91 and 0.93 < high < 1.0  # a quarter of the axis is the difference
    low, high = limits([good[None], worse[None]], [0.85], [], log=False)
    assert 0.5 < low < 0.85  # a published level stays in view


def test_steady_curves_short_ones_and_log_axes_are_shown_whole():
    steady, steep = np.linspace(2.3, 0.1, 20)[None], np.array([[2.3, *[0.1] * 19]])
    assert limits([steady], [], [], log=False) is None
    assert limits([steep[:, :4]], [], [], log=False) is None
    assert limits([steep + np.linspace(0, 0.01, 20)], [], [], log=True) is None
    assert limits([], [], [], log=False) is None


@pytest.mark.parametrize("log", [False, True])
def test_a_curve_that_diverges_leaves_the_axes(log):
    _, high = limits([np.linspace(2.3, 0.1, 20)[None]], [], [np.geomspace(1, 1e12, 9)], log=log)
    assert 2.3 < high < (1e3 if log else 10)


@pytest.mark.parametrize("ends", [(48, 230), (62, 68), (0.05, 0.9), (1e-17, 1e2), (3, 3e4), (120, 130), (1, 10)])
def test_a_log_axis_has_three_to_seven_ticks_that_are_round(ends):
    ticks = log_ticks(*ends)
    assert 3 <= len(ticks) <= 7 and all(ends[0] <= tick <= ends[1] for tick in ticks)
    assert all(float(f"{tick:.3g}") == pytest.approx(tick) for tick in ticks)
    if ends == (48, 230):
        assert [tick_label(tick) for tick in ticks] == ["50", "100", "200"]


def test_labels_of_ticks():
    assert [tick_label(tick) for tick in (0.001, 20000, 0, -0.05)] == ["0.001", "20000", "0", "-0.05"]
    assert [tick_label(tick) for tick in (1e-6, 3e7)] == ["$10^{-6}$", r"$3\times10^{7}$"]


@pytest.mark.parametrize("top", [3.2, 1.0, 9.9e-5, 1234.0])
def test_a_bar_of_colours_has_a_tick_for_each_decade_of_its_logarithms(top):
    ticks = np.array(colour_ticks(top))
    assert len(ticks) == 7 and (np.abs(ticks) <= top * (1 + 1e-9)).all() and (np.diff(ticks) > 0).all()
    assert np.abs(ticks[ticks != 0]).min() >= FLOOR * top * 0.1


# Lines that coincide


def test_curves_coincide_along_half_of_their_length_or_more():
    x = np.linspace(0, 100, 30)
    curve = np.column_stack([x, 50 + x**0.5])
    near, far = curve + [0, 1.0], curve + [0, 9.0]
    crossing = np.column_stack([x, 100 - x])
    assert overlap.groups([curve, far, near, crossing, curve[:20]], 4.0) == [[0, 2, 4]]


def test_of_coinciding_lines_the_longest_is_whole():
    axes = Figure().subplots()
    x = np.linspace(0, 1, 50)
    short, long = (axes.plot(x[:n], x[:n] ** 2, gid=tags.tag(tags.LINE, "m"))[0] for n in (20, 50))
    overlap.alternate(axes)
    assert long.get_linestyle() == "-" and short.get_linestyle() == "--" and short.get_zorder() > long.get_zorder()


def test_trajectories_coincide_from_point_to_point():
    turn = np.linspace(0, 6, 40)
    circle = np.column_stack([50 * np.cos(turn), 50 * np.sin(turn)])
    assert overlap.groups([circle, circle + 0.5, circle[::-1]], 4.0) == [[0, 1]]


def test_a_hidden_line_is_made_visible_and_the_others_stay_as_they_are(folder, tmp_path, monkeypatch):
    values = [2.0, 1.0, 0.5, 0.2]
    found = evidence(folder, tmp_path, {"sgd": [values], "hf": [values], "adam": [[2.0, 1.9, 1.8, 1.7]]})
    sheet = drawn(found, folder, tmp_path, monkeypatch)
    dashed = {line.get_label(): line.is_dashed() for line in sheet.axes[0].lines}
    assert dashed == {"sgd": False, "hf": True, "adam": False}


def drawn(found: Evidence, folder, tmp_path, monkeypatch) -> Figure:
    sheets = []
    monkeypatch.setattr(Figure, "savefig", lambda sheet, *args, **options: sheets.append(sheet))
    figure(found, tmp_path, folder=folder)
    return sheets[0]


# Legends and styles


def assert_nothing_covered(sheet: Figure) -> None:
    """The legend and the texts lie on the sheet, below everything that belongs to axes, and not on each other."""
    sheet.draw_without_rendering()
    below = [*(legend.get_window_extent() for legend in sheet.legends)]
    below += [text.get_window_extent() for text in sheet.texts]
    floor = min(axes.get_tightbbox().ymin for axes in sheet.axes)
    for place, box in enumerate(below):
        assert box.xmin >= 0 and box.xmax <= sheet.bbox.xmax and box.ymin >= 0 and box.ymax <= floor
        assert not any(box.overlaps(other) for other in below[:place])


def test_many_long_entries_are_below_the_axes_and_methods_without_a_run_are_in_a_line(folder, tmp_path, monkeypatch):
    names = [f"m{i}" for i in range(14)]
    runs = {name: [[2.0, 1.0 + i / 10, 0.5 + i / 10]] if i % 4 else [[]] for i, name in enumerate(names)}
    labels = {name: f"{name}, a method with a label of many words and $ signs {'x' * 20}" for name in names}
    sheet = drawn(evidence(folder, tmp_path, runs, labels), folder, tmp_path, monkeypatch)
    assert len(sheet.legends[0].get_texts()) == 10
    (note,) = [text.get_text().replace("\n", " ") for text in sheet.texts]
    assert note.startswith("Not drawn: m0,") and note.count("(missing 1/1)") == 4
    assert_nothing_covered(sheet)


def test_the_best_of_k_figure_has_its_legend_below(tmp_path, monkeypatch):
    sheets = []
    monkeypatch.setattr(Figure, "savefig", lambda sheet, *args, **options: sheets.append(sheet))
    label = "letter linear method_{} optimizer.momentum=0.9 optimizer.rank=12 l2=0.001"
    searches = [
        SimpleNamespace(label=label.format(i), trials=range(5 + i), best_of=lambda k, i=i: 0.9 + k / 100 + i / 50)
        for i in range(12)
    ]
    tune_pages._figure(searches, {"metric": "validation_accuracy"}, tmp_path / "x.png")
    assert_nothing_covered(sheets[0])
    assert [text.get_text() for text in sheets[0].legends[0].get_texts()] == [f"method_{i}" for i in range(12)]
    assert sheets[0].axes[0].get_title(loc="left") == "letter linear momentum=0.9 rank=12 l2=0.001"


PANELS = """
title: T
source: s
experiment: a/grid
methods:
  nk_a: {label: "Newton, relu", where: {optimizer: nk, model.activation: relu}}
  adam_a: {label: "Adam, relu", where: {optimizer: adam, model.activation: relu}}
  nk_b: {label: "Newton, sin", where: {optimizer: nk, model.activation: sin}}
  adam_b: {label: "Adam, sin", where: {optimizer: adam, model.activation: sin}}
figure:
  panels:
    - {methods: [nk_a, adam_a%s], x: step, y: train_loss, label: Loss}
    - {methods: [nk_b, adam_b], x: step, y: train_loss, label: Loss}
"""


def test_an_optimizer_that_each_panel_shows_once_has_one_style_and_one_entry(folder, tmp_path, monkeypatch):
    (folder / "a" / "p.yaml").write_text(PANELS % "")
    report = read("a/p", folder=folder)
    styles = colours(report, folder=folder)
    assert styles["nk_a"] == styles["nk_b"] != styles["adam_a"] == styles["adam_b"]
    runs = [
        a_run(name, model={"name": "mlp", "activation": kind}, cell=name + kind)
        for name in ("nk", "adam")
        for kind in ("relu", "sin")
    ]
    for run in runs[:-1]:
        put(tmp_path / "runs", run, evals("train_loss", 2.0, 1.0))
    sheet = drawn(Evidence(report, collect(runs, tmp_path / "runs")), folder, tmp_path, monkeypatch)
    assert [text.get_text() for text in sheet.legends[0].get_texts()] == ["Newton", "Adam (sin: missing 1/1)"]
    assert not sheet.texts
    (folder / "a" / "p.yaml").write_text(PANELS % ", nk_b")  # now a panel shows both
    styles = colours(read("a/p", folder=folder), folder=folder)
    assert styles["nk_a"] != styles["nk_b"] and styles["adam_a"] == styles["adam_b"]


@pytest.mark.parametrize(
    ("labels", "common"),
    [
        (["Adam, relu", "Adam, sin"], "Adam"),
        (["K-FAC (lr 1)", "K-FAC (lr 2)"], "K-FAC"),
        (["SGD", "SGDm"], ""),
        (["SGD", "SGD m"], "SGD"),
        (["a", "b"], ""),
    ],
)
def test_the_common_part_of_labels_has_whole_words(labels, common):
    assert common_label(labels) == common


def test_the_caption_tells_of_every_kind_of_mark(folder):
    report = read("a/one", folder=folder)
    assert "cross" not in caption(report, {"done"}) and "ending in a cross" in caption(report, {"diverged"})
    assert "Dotted: the published" in caption(report, {}) and "coincide" in caption(report, {})
