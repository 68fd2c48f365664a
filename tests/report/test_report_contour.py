import math

import numpy as np
import pytest
from matplotlib.figure import Figure
from run_tree import a_run, evals, put

from sobench.errors import UsageError
from sobench.report.evidence import Evidence
from sobench.report.figures.contour import draw
from sobench.report.schema.catalogue import read
from sobench.report.writer import write
from sobench.results.collection import collect

LANDSCAPE = """
title: Landscape
source: a thesis, figure 2.3
experiment: a/landscape
methods: {sgd: SGD}
figure:
  panels:
    - {kind: contour, method: sgd, metric: train_loss, label: Loss, title: MNIST, scale: log, levels: 4}
"""
RATES, DAMPINGS = (0.01, 0.1, 1.0), (0.03, 0.3)


@pytest.fixture
def landscape(folder):
    (folder / "a" / "land.yaml").write_text(LANDSCAPE)
    return folder


def loss(lr, damping):
    """A bilinear function of the logarithms: between the points of a grid its contours are known."""
    return 10.0 + 4 * math.log10(lr) + math.log10(damping)


def tree(root, outcome=lambda lr, damping, seed: loss(lr, damping), rates=RATES, dampings=DAMPINGS, seeds=2):
    """A run for each learning rate, damping and seed, that ends at its outcome: a loss, "diverged" or "missing"."""
    runs = [a_run("sgd", seed, lr=lr, damping=damping) for lr in rates for damping in dampings for seed in range(seeds)]
    for run in runs:
        found = outcome(run.config["optimizer"]["lr"], run.config["optimizer"]["damping"], run.seed)
        if found == "diverged":
            put(root, run, evals("train_loss", 9.0, 99.0), "diverged")
        elif found != "missing":
            put(root, run, evals("train_loss", 20.0, found))
    return runs


def drawn(folder, root, runs):
    evidence = Evidence(read("a/land", folder=folder), collect(runs, root))
    axes = Figure().subplots()
    entries = draw(axes, evidence.report.figure.panels[0], evidence, {})
    marks = {
        line.get_marker() + ("" if line.get_markerfacecolor() != "none" else " ring"): sorted(
            zip(*(np.round(10.0 ** np.asarray(values), 6) for values in line.get_data()), strict=True)
        )
        for line in axes.lines
    }
    return axes, entries, marks


def test_the_grid_its_points_and_the_lowest(landscape, tmp_path):
    axes, entries, marks = drawn(landscape, tmp_path, tree(tmp_path))
    assert marks == {"o": [(lr, damping) for lr in RATES for damping in DAMPINGS], "*": [(0.01, 0.03)]}
    assert list(entries) == ["tried", "best"]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["0.01", "0.1", "1"]
    assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_title(loc="left")) == ("learning rate", "damping", "MNIST")


def test_contours_lie_where_the_metric_has_their_level_on_logarithmic_axes(landscape, tmp_path):
    axes, _, _ = drawn(landscape, tmp_path, tree(tmp_path))
    lines = axes.collections[-1]
    levels = np.geomspace(loss(0.01, 0.03), loss(1.0, 0.3), 5)
    np.testing.assert_allclose(lines.levels, levels)
    inner = lines.get_paths()[2].vertices  # of the middle level, in logarithms
    np.testing.assert_allclose([10.0 + 4 * x + y for x, y in inner], levels[2])


def test_means_are_over_the_seeds_that_are_there_and_a_gap_has_a_ring(landscape, tmp_path):
    def outcome(lr, damping, seed):
        if (lr, damping) == (0.1, 0.3):
            return "missing"
        return "missing" if (lr, damping, seed) == (1.0, 0.3, 1) else 5.0 + seed

    axes, entries, marks = drawn(landscape, tmp_path, tree(tmp_path, outcome))
    assert marks["o ring"] == [(0.1, 0.3), (1.0, 0.3)] and "not every seed is finished" in entries
    assert marks["*"] == [(1.0, 0.3)]  # 5.0, of its one seed; 5.5 elsewhere
    assert len(marks["o"]) == 4


def test_where_a_seed_diverged_there_is_a_cross_and_no_contour(landscape, tmp_path):
    # the diverged seed's partner would have been the best
    axes, entries, marks = drawn(
        landscape,
        tmp_path,
        tree(
            tmp_path,
            lambda lr, damping, seed: (
                ("diverged" if seed else 0.1) if (lr, damping) == (1.0, 0.03) else loss(lr, damping)
            ),
        ),
    )
    assert marks["x"] == [(1.0, 0.03)] and marks["*"] == [(0.01, 0.03)] and "diverged" in entries
    reach = np.concatenate([path.vertices for path in axes.collections[0].get_paths() if len(path.vertices)])
    inside = (reach[:, 0] > -1 + 1e-6) & (reach[:, 1] < math.log10(0.3) - 0.5)
    assert not any(x > 0 - 1e-6 and inside[i] for i, (x, _) in enumerate(reach))


@pytest.mark.parametrize(
    ("outcome", "rates"),
    [
        (lambda lr, damping, seed: 3.0, RATES),
        (lambda lr, damping, seed: loss(lr, damping), RATES[:1]),
        (lambda lr, damping, seed: "diverged", RATES),
        (lambda lr, damping, seed: "missing" if lr < 1 else 2.0, RATES),
    ],
)
def test_grids_that_have_no_contours_are_drawn_all_the_same(landscape, tmp_path, outcome, rates):
    runs = tree(tmp_path / "runs", outcome, rates)
    write("a/land", runs, tmp_path / "runs", tmp_path / "out", folder=landscape)
    page = (tmp_path / "out" / "report.md").read_text()
    assert "Contours: mean over seeds" in page and "Solid" not in page


def test_without_any_run_the_panel_says_so(landscape, tmp_path):
    axes, _, marks = drawn(landscape, tmp_path, tree(tmp_path, lambda *place: "missing"))
    assert [text.get_text() for text in axes.texts] == ["no run of this panel is finished"] and set(marks) == {"o ring"}


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        ({"lr": 0.1, "damping": None}, "optimizer.damping of a/landscape: got None (sgd), allowed: a number above 0"),
        (
            {"lr": 0.1, "damping": 0.3, "batch_size": 7},
            "fits 2 configurations of a/landscape with optimizer.lr 0.1, optim",
        ),
    ],
)
def test_a_grid_that_is_none_is_one_line(landscape, tmp_path, extra, expected):
    odd = a_run("sgd", 0, cell="another", **extra)
    put(tmp_path, odd, evals("train_loss", 1.0))
    with pytest.raises(UsageError) as caught:
        drawn(landscape, tmp_path, [*tree(tmp_path), odd])
    assert expected in str(caught.value) and "\n" not in str(caught.value)
