"""A written report is made again from its own files: to the same bytes, or with a line that says what differs."""

from __future__ import annotations

import csv
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from harness import command, disk_of
from hypothesis import given
from hypothesis import strategies as st
from run_tree import OF_A_PAPER, a_run, evals, put, row

from sobench.cli.main import main
from sobench.errors import Failure
from sobench.report import again, records, tune_pages
from sobench.report.looks import Looks
from sobench.report.writer import write
from sobench.results.aggregate import Aggregate
from sobench.results.trials import Search, Trial

EVERYTHING = """
title: Everything
source: a paper, table 1
experiment: a/grid
methods:
  sgd: SGD
  newton: Newton
table:
  columns:
    - {metric: train_loss, label: Loss, better: lower, published: {sgd: 0.5}}
    - {metric: test_accuracy, label: Accuracy, at: best, better: higher}
    - {metric: step, label: Steps to 0.5, reach: {metric: train_loss, at_most: 0.5}}
    - {metric: state_bytes, label: Growth, growth: batch_size, better: lower}
claims:
  - id: ahead
    text: Newton is ahead.
    source: abstract
    scope: {epoch: 2}
    test: {kind: compare, metric: train_loss, better: lower, subject: newton, rivals: [sgd]}
  - id: always
    text: Newton is always ahead.
    source: abstract
    scope: {epoch: 2}
    test: {kind: compare, metric: train_loss, better: lower, subject: newton, rivals: [sgd], at: every,
           start: {step: 10}}
  - id: robust
    text: Newton is robust.
    source: abstract
    scope: {epoch: 2}
    test: {kind: robust, metric: train_loss, better: lower, subject: newton, times: 3, share: 0.5}
"""
FIGURE = """
figure:
  panels:
    - {x: step, y: loss, rows: train, smooth: 20, label: Mini-batch loss, scale: log}
    - {x: seconds, y: train_loss, label: Loss}
    - {x: epoch, y: good, rows: train, mean_by: epoch, label: Share}
    - {kind: contour, method: newton, metric: train_loss, label: Loss, x: batch_size, y: optimizer.lr}
"""


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    path = tmp_path / "conf" / "a"
    path.mkdir(parents=True)
    (path / "everything.yaml").write_text(EVERYTHING)
    (path / "drawn.yaml").write_text(EVERYTHING.replace("Everything", "Everything drawn") + FIGURE)
    return tmp_path / "conf"


@pytest.fixture
def written(conf: Path, tmp_path: Path) -> Path:
    """The folder of a report without a figure."""
    return a_report("a/everything", conf, tmp_path)


@pytest.fixture
def drawn(conf: Path, tmp_path: Path) -> Path:
    """The folder of a report with a figure."""
    return a_report("a/drawn", conf, tmp_path)


def a_report(name: str, conf: Path, tmp_path: Path, looks: Looks | None = None) -> Path:
    """A report of three seeds of two methods; one run diverged, one lacks its last value."""
    rng, runs = np.random.default_rng(0), []
    for method in ("sgd", "newton"):
        for seed in range(3):
            run = a_run(method, seed)
            train = [
                row("train", step, loss=math.exp(-step / 10) + rng.random() / 10, good=float(step % 3 > 0))
                for step in range(1, 21)
            ]
            losses = [2.0, 1.0 / (1 + seed), 0.4 + rng.random() / 3, math.nan if (method, seed) == ("sgd", 1) else 0.3]
            evaluations = evals("train_loss", *losses)
            for evaluation in evaluations:
                evaluation["test_accuracy"] = 0.5 + rng.random() / 3
            status = "diverged" if (method, seed) == ("sgd", 2) else "done"
            put(tmp_path / "runs", run, train + evaluations, status, state_bytes=800, epochs=3.0, steps=30, seconds=3.0)
            runs.append(run)
    write(name, runs, tmp_path / "runs", tmp_path / "out", folder=conf, looks=looks)
    shutil.rmtree(tmp_path / "runs")
    return tmp_path / "out"


def test_p_values_of_seeds_that_were_added_by_need_are_made_again(conf, tmp_path):
    written = a_report("a/everything", conf, tmp_path, Looks(2))
    assert "added by need" in (written / "report.md").read_text()
    assert "--until-decided" in (written / "report.md").read_text()
    assert again.differences(written, descriptions=conf) == []
    edited(written / "provenance.json", '"first": 2', '"first": 3')
    assert "claims.csv" in "".join(again.differences(written, descriptions=conf))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_without_its_runs_it_is_made_again_to_the_same_bytes(drawn, conf):
    written, before = drawn, contents(drawn)
    assert {*before} == {*OF_A_PAPER}
    assert again.differences(written, descriptions=conf) == []
    for name in {*OF_A_PAPER} - {*again.KEPT}:
        (written / name).write_bytes(b"old")
    assert {line.partition(":")[0].partition(",")[0] for line in again.differences(written, descriptions=conf)} >= {
        "report.md",
        "table.csv",
        "claims.csv",
    }
    again.remake(written, descriptions=conf)
    assert contents(written) == before


def test_every_number_of_the_table_is_the_mean_of_the_written_values(written):
    with (written / "table.csv").open() as file:
        cells = [cell for cell in csv.DictReader(file) if cell["column"] in ("Loss", "Accuracy")]
    with (written / "values.csv").open() as file:
        values = list(csv.DictReader(file))
    assert cells
    for cell in cells:
        used = f"column {cell['column']}"
        found = [v for v in values if used in v["used_by"].split("; ") and v["optimizer"] == cell["method"]]
        counted = [v for v in found if (v["optimizer"], v["seed"]) != ("sgd", "2")]  # it diverged
        assert len(counted) == int(cell["n"])
        assert np.mean([float(v["value"]) for v in counted]) == pytest.approx(float(cell["mean"]), rel=1e-12)


def edited(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize(
    ("name", "old", "new", "says"),
    [
        ("table.md", "SGD", "Sgd", "table.md, line 3"),
        ("claims.csv", "ahead,", "behind,", "claims.csv, line 2"),
        ("report.md", "# Everything", "# Nothing", "report.md, line 1"),
        ("values.csv", "train_loss,last,eval,newton,mnist,0", "train_loss,last,eval,newton,mnist,0", ""),
    ],
)
def test_a_changed_file_is_named_with_its_line(written, conf, name, old, new, says):
    edited(written / name, old, new)
    found = again.differences(written, descriptions=conf)
    assert len(found) == bool(says) and says in "".join(found)


def test_a_changed_value_changes_the_table_and_the_page(written, conf):
    with (written / "values.csv").open() as file:
        rows = list(csv.DictReader(file))
    value = next(row["value"] for row in rows if row["metric"] == "train_loss" and row["optimizer"] == "newton")
    edited(written / "values.csv", value, repr(float(value) + 0.01))
    named = {line.partition(",")[0] for line in again.differences(written, descriptions=conf)}
    assert {"table.csv", "table.md", "table.tex", "report.md"} <= named


def test_a_changed_point_changes_the_picture(drawn, conf):
    written = drawn
    lines = (written / "curves.csv").read_text().splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("eval,some,train_loss,newton"[:20]))
    head, _, values = lines[at].rpartition(",")
    lines[at] = f"{head},{' '.join('9' for _ in values.split())}"
    (written / "curves.csv").write_text("\n".join(lines) + "\n")
    assert any(line.startswith("figure.png") for line in again.differences(written, descriptions=conf))


@pytest.mark.parametrize("name", ["report.md", "claims.md", "values.csv", "curves.csv"])
def test_a_missing_file_is_named(written, conf, name):
    (written / name).unlink()
    assert name in "".join(again.differences(written, descriptions=conf))


def test_a_missing_figure_is_named(drawn, conf):
    for name in ("figure.png", "figure.pdf"):
        (drawn / name).unlink()
    assert again.differences(drawn, descriptions=conf) == ["figure.png: missing", "figure.pdf: missing"]


@pytest.mark.parametrize("name", ["values.csv", "curves.csv"])
def test_damaged_numbers_are_one_line(written, conf, name):
    (written / name).write_text("not,a,record\n1,2,3\n")
    (line,) = again.differences(written, descriptions=conf)
    assert "damaged" in line and name in line and "\n" not in line


def test_a_description_that_asks_for_more_than_was_written_is_refused_and_nothing_is_lost(written, conf):
    edited(conf / "a" / "everything.yaml", "metric: train_loss, label: Loss", "metric: test_loss, label: Loss")
    before = contents(written)
    (line,) = again.differences(written, descriptions=conf)
    assert "test_loss at last is not among the numbers" in line
    with pytest.raises(Failure, match="test_loss at last"):
        again.remake(written, descriptions=conf)
    assert contents(written) == before


def test_a_withdrawn_report_keeps_table_and_figure_and_has_no_verdict(drawn, conf):
    written = drawn
    before = contents(written)
    again.withdraw(written, "Its runs are gone.")
    page = (written / "report.md").read_text()
    assert "> **Withdrawn.** Its runs are gone." in page and "## Table" in page and "figure.png" in page
    assert "## Claims" not in page and "ahead" not in page
    assert {*contents(written)} == {*before} - {"claims.md", "claims.csv"}
    assert again.differences(written, descriptions=conf) == []
    again.withdraw(written, "Its runs are gone.")  # again, which changes nothing
    assert (written / "report.md").read_text() == page
    (written / "claims.csv").write_bytes(before["claims.csv"])
    assert "a withdrawn report has no verdicts" in "".join(again.differences(written, descriptions=conf))
    (written / "claims.csv").unlink()
    (written / "index.html").write_text("old")
    assert "index.html" in "".join(again.differences(written, descriptions=conf))
    again.remake(written, descriptions=conf)  # its page for a browser alone
    assert again.differences(written, descriptions=conf) == [] and (written / "report.md").read_text() == page


@pytest.mark.parametrize("size", [0, 300, 1000])
def test_on_a_full_disk_a_report_is_withdrawn_whole_or_not_at_all(written, tmp_path, monkeypatch, size):
    monkeypatch.chdir(tmp_path)
    before = contents(written)
    with disk_of(size):
        refused = command("report", "--withdraw", "Its runs are gone.", "out")
    assert refused.code == 1 and not refused.err and contents(written) == before
    line, count = refused.out.splitlines()
    assert line.startswith("out: reports: cannot write ") and line.endswith(": File too large")
    assert count == "1 report: 0 withdrawn, 1 not"


def test_a_report_without_its_page_is_one_line(written, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (written / "report.md").unlink()
    before = contents(written)
    refused = command("report", "--withdraw", "Its runs are gone.", "out")
    assert refused.code == 1 and "out/report.md: " in refused.out and contents(written) == before


def a_tuning(folder: Path) -> list[Path]:
    """Write the pages of a tuning."""
    scores = {"sgd": [0.5, 0.7, None, 0.9], "adam": [0.8, 0.85]}
    searches = [
        Search(
            (f"optimizer={name}",),
            {"optimizer.lr": list(range(len(values)))},
            [Trial({"optimizer.lr": lr}, Aggregate({} if v is None else {1000: v}, 1)) for lr, v in enumerate(values)],
            "higher",
        )
        for name, values in scores.items()
    ]
    criterion = {"metric": "validation_accuracy", "better": "higher", "at": "best", "seeds": [1000], "budget": "cpu"}
    return tune_pages.write(searches, criterion, "a/grid", folder)


@pytest.mark.parametrize("size", [0, 500, 5000])
def test_on_a_full_disk_the_pages_of_a_tuning_stay_as_they_were(tmp_path, size):
    a_tuning(tmp_path)
    (tmp_path / "best-of-k.png").write_bytes(b"old")
    before = contents(tmp_path)
    for write_pages in (a_tuning, again.remake):
        with disk_of(size), pytest.raises(Failure, match=r"^reports: cannot write .*: File too large$"):
            write_pages(tmp_path)
        assert contents(tmp_path) == before


def test_the_figure_of_a_tuning_is_drawn_again_from_its_trials(tmp_path):
    a_tuning(tmp_path)
    assert again.folders([tmp_path]) == [tmp_path] and again.differences(tmp_path) == []
    drawn = (tmp_path / "best-of-k.png").read_bytes()
    edited(tmp_path / "trials.csv", "0.7", "0.2")
    assert {line.partition(":")[0].partition(",")[0] for line in again.differences(tmp_path)} == {
        "best-of-k.png",
        "index.html",
    }
    again.remake(tmp_path)
    assert again.differences(tmp_path) == [] and (tmp_path / "best-of-k.png").read_bytes() != drawn
    (tmp_path / "trials.csv").write_text("cell,score\n")
    assert again.differences(tmp_path) != []
    (tmp_path / "tuning.md").unlink()
    with pytest.raises(Failure, match=r"^its trials cannot be read: .*tuning\.md"):
        again.remake(tmp_path)


@given(st.sets(st.integers(0, 60)).map(sorted))
def test_places_are_read_as_they_were_written(places):
    assert records._places(records._listed(np.array(places, dtype=float))).tolist() == places


def test_the_command_names_what_is_wrong(written, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["report"]) == 2 and "got no ID" in capsys.readouterr().err
    assert main(["report", "--verify"]) == 2 and "reports: no report" in capsys.readouterr().err
    assert main(["report", "--withdraw", " ", "out"]) == 2 and "empty reason" in capsys.readouterr().err
    assert main(["report", "--withdraw", "gone"]) == 2 and "got no folder" in capsys.readouterr().err
    assert main(["report", "--verify", "out"]) == 1  # a report that sobench does not describe
    assert "a/everything" in capsys.readouterr().out
    assert main(["report", "--withdraw", "Gone.", "out"]) == 0
    assert main(["report", "--verify", "out"]) == 0
    assert "1 report: 1 as their numbers say" in capsys.readouterr().out
    assert json.loads((written / "provenance.json").read_text())["withdrawn"] == "Gone."
