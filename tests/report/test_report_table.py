import csv
import io
import json

import pytest
from run_tree import a_run, evals, put

from sobench.report import formats
from sobench.report.evidence import Evidence
from sobench.report.pages import report_markdown
from sobench.report.provenance import provenance
from sobench.report.schema.catalogue import read
from sobench.report.table import BEST, SECOND, contents
from sobench.report.view import of as view_of
from sobench.results.collection import collect
from sobench.results.method_code import SCHEME


def table(folder, root, outcomes: dict[str, list]):
    """The table of the fixture's report; an outcome is the accuracies of one seed's evaluations, or how it ended."""
    runs = [a_run(method, seed) for method, seeds in outcomes.items() for seed in range(len(seeds))]
    for run in runs:
        outcome = outcomes[run.config["optimizer"]["name"]][run.seed]
        if outcome == "diverged":
            put(root, run, evals("test_accuracy", 0.1, 0.1), "diverged")
        elif outcome != "missing":
            put(root, run, evals("test_accuracy", *outcome))
    return contents(Evidence(read("a/one", folder=folder), collect(runs, root)))


FULL = {"sgd": [(0.1, 0.92), (0.1, 0.90)], "newton": [(0.1, 0.5), (0.1, 0.5)], "hf_newton": [(0.1, 0.95), (0.1, 0.97)]}


def cells(found, column=0):
    return {row.method: row.cells[column] for row in found.rows}


def test_our_value_its_error_and_n_beside_the_published(folder, tmp_path):
    found = table(folder, tmp_path / "runs", FULL)
    sgd = cells(found)["sgd"]
    assert (sgd.ours.mean, sgd.ours.stderr, sgd.published) == (0.91, 0.010000000000000009, 0.91)
    assert [cell.rank for cell in cells(found).values()] == [SECOND, None, BEST]
    text = formats.to_markdown(found)
    assert "| SGD | <u>0.9100 ± 0.0100</u> | 0.9100 |" in text
    assert "| Hessian-free | **0.9600 ± 0.0100** | – |" in text
    assert "0.5000 ± 0.0200" in text and "| 2/2 | 10 | 1 |" in text


def test_gaps_are_printed_and_not_ranked(folder, tmp_path):
    gaps = {"hf_newton": [(0.1, 0.95), "diverged"], "newton": ["missing", "missing"]}
    found = table(folder, tmp_path / "runs", FULL | gaps)
    text = formats.to_markdown(found)
    assert "| 0.9500 (diverged 1/2) |" in text and "| 1/2" in text
    assert "| missing 2/2 |" in text
    assert cells(found)["hf_newton"].rank is None
    assert "diverged 1/2" in formats.to_latex(found, "c") and "diverged 1/2" in formats.to_csv(found)


def test_a_cut_budget_has_a_footnote_and_no_rank_but_for_costs(folder, tmp_path):
    short = {"newton": [(0.99,), (0.99,)]}  # ends at step 0
    long = {name: [(0.1, 0.9, 0.9), (0.1, 0.9, 0.9)] for name in ("sgd", "hf_newton")}
    found = table(folder, tmp_path / "runs", long | {"newton": [(0.1, 0.99), (0.1, 0.99)]})
    assert found.footnotes == {"a": "newton: cut to 10 of 20 steps"}
    assert cells(found)["newton"].rank is None and cells(found)["newton"].mark == "a"
    assert cells(found, 1)["newton"].rank == BEST  # the time of a step; all three are equal
    assert "<sup>a</sup> newton: cut to 10 of 20 steps" in formats.to_markdown(found)
    assert "cut to 10 of 20" in formats.to_csv(found) and r"\textsuperscript{a}" in formats.to_latex(found, "c")
    assert table(folder, tmp_path / "more", long | short).footnotes == {"a": "newton: cut to 0 of 20 steps"}


def test_a_huge_number_has_an_exponent(folder, tmp_path):
    found = table(folder, tmp_path / "runs", FULL | {"sgd": [(0.1, 4.6e17), (0.1, 4.6e17)]})
    text = formats.to_markdown(found)
    assert "4.6e+17 ± 0.0000" in text and "0000000" not in text


def test_csv_holds_every_number_unrounded(folder, tmp_path):
    found = table(folder, tmp_path / "runs", FULL)
    lines = list(csv.DictReader(io.StringIO(formats.to_csv(found))))
    assert len(lines) == 3 * 2
    first = lines[0]
    assert float(first["mean"]) == 0.91 and float(first["published"]) == 0.91 and first["n"] == first["expected"] == "2"
    assert (lines[2]["published"], lines[2]["published_spread"], lines[4]["published"]) == ("0.5", "0.02", "")


def test_latex_is_booktabs_and_escaped(folder, tmp_path):
    text = formats.to_latex(table(folder, tmp_path / "runs", FULL), "50% of a_b & c")
    assert r"\caption{50\% of a\_b \& c}" in text and r"Accuracy (100\%)" in text
    assert all(rule in text for rule in (r"\toprule", r"\midrule", r"\bottomrule", r"\textbf{0.9600 $\pm$ 0.0100}"))
    body = text[text.index(r"\midrule") : text.index(r"\bottomrule")]
    assert {line.count(" & ") for line in body.splitlines() if "&" in line} == {6}  # seven columns


def test_escapes_are_latex_not_text():
    assert formats.Latex.escape(r"a\b~^{}#$") == r"a\textbackslash{}b\textasciitilde{}\textasciicircum{}\{\}\#\$"


GROWTH = """
title: Costs
source: a thesis, table 2.1
experiment: a/costs
methods: {sgd: SGD, newton: Newton}
table:
  columns:
    - {metric: state_bytes, label: Growth, growth: model.widths, format: .2f, better: lower, published: {newton: 2}}
    - {metric: state_bytes, label: "At 20, 20", format: ",.0f", where: {model.widths: [[20, 20]]}}
    - {metric: state_bytes_over_parameters, label: a parameter, format: .1f, where: {model.widths: [[20, 20]]}}
"""


def test_bytes_by_width_and_the_exponent_of_their_growth(folder, tmp_path):
    (folder / "a" / "costs.yaml").write_text(GROWTH)
    runs = [a_run(name, widths=(width, width)) for name in ("sgd", "newton") for width in (10, 20, 40)]
    for run in runs:
        width = run.config["model"]["widths"][0]
        newton = run.config["optimizer"]["name"] == "newton"
        if newton or width < 40:
            put(
                tmp_path,
                run,
                evals("train_loss", 2.0, 1.0),
                state_bytes=4 * width ** (2 if newton else 1),
                parameters=100,
            )
    found = contents(Evidence(read("a/costs", folder=folder), collect(runs, tmp_path)))
    growth = cells(found)
    assert growth["newton"].ours.mean == pytest.approx(2) and growth["newton"].published == 2
    assert growth["sgd"].ours.mean == pytest.approx(1) and growth["sgd"].ours.gap == "missing 1/3"
    assert [cells(found, column)["newton"].ours.mean for column in (1, 2)] == [1600, 16]
    text = formats.to_markdown(found)
    assert "| Newton | <u>2.00 ± 0.00</u> | 2.00 | 1,600 | 16.0 | 3/3, 1/1 |" in text
    assert "**1.00** (missing 1/3)" in text and "standard error of the fit" in text
    assert "last, growth with model.widths" in formats.to_csv(found)


def test_numbers_that_the_paper_does_not_print_have_a_heading_of_their_own(folder, tmp_path):
    named = GROWTH.replace("published: {newton: 2}", "published: {newton: 2}, published_as: 'count_4, a & b'")
    (folder / "a" / "costs.yaml").write_text(named)
    runs = [a_run("sgd", widths=(10, 10))]
    put(tmp_path, runs[0], evals("train_loss", 2.0, 1.0), state_bytes=40, parameters=100)
    found = contents(Evidence(read("a/costs", folder=folder), collect(runs, tmp_path)))
    assert "| count\\_4, a & b |" in formats.to_markdown(found) and "| published |" not in formats.to_markdown(found)
    assert r"count\_4, a \& b" in formats.to_latex(found, "t") and "published" not in formats.to_latex(found, "t")


def test_stale_runs_are_marked_and_named(folder, tmp_path):
    root = tmp_path / "runs"
    table(folder, root, FULL)
    runs = [a_run(method, seed) for method in FULL for seed in range(2)]
    older = {"scheme": SCHEME, "method": "older", "data": None}
    for run, then in zip(runs, (older, older | {"scheme": 1})):
        (run.directory(root) / "environment.json").write_text(json.dumps({"fingerprint": then}))
    evidence = Evidence(read("a/one", folder=folder), collect(runs, root))
    found, origin = contents(evidence), provenance(evidence, "sobench reproduce a/one budget=cpu")
    assert found.footnotes == {"a": "sgd: 1 of 2 runs is stale: older code of its method"}
    assert cells(found)["sgd"].mark == "a" and cells(found)["newton"].mark == ""
    assert [run["id"] for run in origin["runs"] if "stale" in run] == [runs[0].id]
    page = report_markdown(view_of(evidence, origin, None, []))
    assert (
        "- Stale: 1 run, 1 of sgd on mnist (older code of its method); made again with "
        "`sobench retry a/grid budget=cpu --stale`"
    ) in page
