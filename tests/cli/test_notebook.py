"""`sobench.summarize` and `sobench.compare`: the numbers and figures of the commands, without their files."""

from __future__ import annotations

import csv
import html
import json
import math
import shutil
import subprocess
import sys
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from harness import SMALL, command, directories

import sobench
from sobench.config import files
from sobench.errors import UsageError
from sobench.system.files import CHECKOUT

SWEEP = (*SMALL, "optimizer=sgd,adam", "optimizer.lr=0.1,0.01", "seed=0,1,2")


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    """A folder with the runs of a sweep, made once."""
    folder = tmp_path_factory.mktemp("sweep") / "runs"
    assert command("run", "-m", *SWEEP, f"runs={folder}").code == 0
    return folder


@pytest.fixture
def made(workplace, sweep):
    shutil.copytree(sweep, "runs")
    return workplace


def pixels(figure) -> np.ndarray:
    """The figure as it is saved."""
    figure.savefig("figure.png", metadata={"Software": None})
    return matplotlib.image.imread("figure.png")


def test_a_summary_has_the_numbers_and_the_figure_of_the_report(made):
    summary = sobench.summarize(runs="runs")
    assert not Path("reports").exists()
    command("report")
    folder = next(Path("reports").glob("digits-mlp*"))
    written = list(csv.DictReader((folder / "table.csv").read_text().splitlines()))
    assert summary.table["label"].tolist() == [row["label"] for row in written]
    means = [float(row["mean"] or "nan") for row in written]
    np.testing.assert_array_equal(summary.table["mean"], means)
    assert len(summary.settings) == 4 and summary.settings["shown"].sum() == 2 and summary.claims.empty
    np.testing.assert_array_equal(pixels(summary.figure()), matplotlib.image.imread(folder / "figure.png"))
    text = summary._repr_markdown_()
    assert "adam" in text and "optimistic" in text and "| test accuracy" in text
    assert "digits, mlp" in repr(summary)


def test_settings_select_runs_as_they_make_them(made):
    settings = {"model.widths": (4,), "budget.samples": None, "optimizer.lr": [0.1]}
    summary = sobench.summarize(optimizer=["sgd"], seed=range(2), budget="smoke", threads=1, settings=settings)
    assert set(summary.table["method"]) == {"sgd"} and set(summary.table["expected"]) == {2}
    with pytest.raises(UsageError, match="none of its 1 run under runs is finished"):
        sobench.summarize(optimizer="sgd", seed=9, budget="smoke", settings=settings)


def test_runs_of_two_problems_are_refused(made):
    command("run", "threads=1", "model.widths=[5]", "budget=smoke")
    with pytest.raises(UsageError, match=r"runs: got 2 problems \(digits, mlp .*; .*\); allowed: one, selected by"):
        sobench.summarize(runs="runs")


def test_no_runs_and_wrong_names_are_one_line(workplace):
    with pytest.raises(UsageError, match="there is no run under runs"):
        sobench.summarize()
    with pytest.raises(UsageError, match="report: got 'nothing'"):
        sobench.summarize("nothing")
    with pytest.raises(UsageError, match="there is no run under runs"):
        sobench.compare()
    with pytest.raises(UsageError, match="compare: got 'nothing', which is no optimizer"):
        sobench.compare("nothing", suite="digits", run=True)
    assert not list(workplace.iterdir())


def test_an_artifact_has_its_claims(workplace, monkeypatch):
    monkeypatch.setenv(files.OWN, str(CHECKOUT / "examples/own_report/conf"))
    command("run", "experiment=own/momentum", "budget=smoke", "threads=1")
    summary = sobench.summarize("own/momentum", "budget=smoke")
    assert summary.claims["id"].tolist() == ["momentum-lowers-the-loss"]
    assert set(summary.table["method"]) == {"plain", "half", "heavy"} and summary.settings.empty
    assert "Momentum lowers the training loss" in summary._repr_markdown_()


def test_a_comparison_has_the_numbers_and_the_figure_of_the_command(made):
    arguments = {"tuning_seeds": 0, "baseline": "sgd", "axis": ["step", "work"]}
    compared = sobench.compare(runs="runs", **arguments)
    assert not Path("reports").exists()
    done = command("compare", "--tuning-seeds", "0", "--baseline", "sgd", "--axis", "step,work", "--json")
    found = json.loads(done.out)
    for name in ("times", "pairs", "ranks", "runs"):
        frame = getattr(compared, name)
        assert len(frame) == len(found[name]) > 0
        for row, other in zip(frame.to_dict("records"), found[name], strict=True):
            assert {key: None if _is_no_number(value) else value for key, value in row.items()} == other
    assert compared.verdicts == found["verdicts"] and str(compared).startswith(found["title"])
    np.testing.assert_array_equal(
        pixels(compared.figure()), matplotlib.image.imread("reports/compare/digits-mlp/figure.png")
    )
    page = compared._repr_html_()
    assert page.count("<table") == 2 and f"<li>{html.escape(compared.verdicts[0])}</li>" in page
    assert repr(compared) == "<Comparison: digits, mlp: adam, sgd; baseline sgd>"


def _is_no_number(value: object) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def test_a_comparison_makes_the_missing_runs(workplace):
    settings = {"model.widths": (4,), "budget.samples": None}
    arguments = {"seed": range(2), "budget": "smoke", "threads": 1, "settings": settings, "axis": "step"}
    with pytest.raises(UsageError, match="none of its 4 runs under runs is finished"):
        sobench.compare("sgd,adam", **arguments)
    compared = sobench.compare("sgd,adam", run=True, **arguments)
    assert len(directories()) == 4 and len(compared.runs) == 4 and compared.study.baseline == "sgd"
    assert len(sobench.compare("sgd", "adam", run=True, **arguments).runs) == 4


def test_figures_leave_the_backend_of_a_notebook(made):
    backend = matplotlib.get_backend()
    matplotlib.rcParams["backend"] = "svg"
    try:
        sobench.summarize(runs="runs").figure()
        sobench.compare(runs="runs", tuning_seeds=0, axis="step").figure()
        assert matplotlib.rcParams["backend"] == "svg"
    finally:
        matplotlib.rcParams["backend"] = backend


def test_the_names_are_there_without_torch():
    code = "import sys, sobench; sobench.compare, sobench.summarize; print('torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (run.returncode, run.stdout, run.stderr) == (0, "False\n", "")
