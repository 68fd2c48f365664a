"""The page over all written reports: what was run of each artifact, and each claim counted once."""

from __future__ import annotations

import json

import pytest
from harness import command, disk_of

from sobench.cli.main import main
from sobench.errors import UsageError
from sobench.report import overview
from sobench.system.files import CHECKOUT

PROVENANCE = {
    "data": ["mnist"],
    "budgets": [{"name": "cpu", "epochs": 7, "steps": None, "seconds": None}],
    "environments": {"device": ["cpu"]},
    "runs": [{"seed": 0}, {"seed": 1}],
}


def write(root, artifact, name, answers, **more):
    """A written report whose claims have these answers."""
    folder = root / artifact / name
    folder.mkdir(parents=True)
    (folder / "provenance.json").write_text(json.dumps({"report": artifact, **PROVENANCE, **more}))
    if answers:
        (folder / "claims.csv").write_text("id,verdict\n" + "".join(f"{i},{v}\n" for i, v in answers.items()))


def row(page, beginning):
    (found,) = [line for line in page.splitlines() if line.startswith(beginning)]
    return [cell.strip() for cell in found.strip("|").split("|")]


def test_the_committed_page_is_that_of_the_committed_reports():
    assert (CHECKOUT / "reports" / overview.NAME).read_text() == overview.page(CHECKOUT / "reports")


def test_each_claim_of_an_artifact_counts_once_by_what_decides_it(tmp_path):
    write(tmp_path, "practical/table-2", "a", {"1": "holds", "2": "not run", "3": "undecided", "4": "holds"})
    write(tmp_path, "practical/table-2", "b", {"1": "not run", "2": "not judged", "3": "fails", "4": "fails"})
    write(tmp_path, "practical/fig-2", "a", {"one": "undecided"})
    page = overview.page(tmp_path)
    assert row(page, "| [practical](#practical)") == ["[practical](#practical)", "9", "2", "0", "7", *"12110"]
    assert row(page, "| all") == ["all", row(page, "| all")[1], "2", "0", row(page, "| all")[4], *"12110"]
    assert row(page, "| table-2: ")[1:] == [
        "[a](<practical/table-2/a/report.md>)", "mnist", "cpu: 7 epochs", "0, 1", "cpu",
        "2 holds, 1 undecided, 1 not run",
    ]  # fmt: skip
    assert overview.described(tmp_path)["practical/table-2"] == "1 holds, 2 fails, 1 not judged"


def test_a_withdrawn_report_counts_only_where_no_other_is_judged(tmp_path):
    write(tmp_path, "practical/table-2", "a", {}, withdrawn="its runs are gone")
    assert row(overview.page(tmp_path), "| [practical]")[2:5] == ["0", "1", "8"]
    assert overview.described(tmp_path) == {"practical/table-2": "withdrawn"}
    write(tmp_path, "practical/table-2", "b", {"one": "undecided"})
    assert row(overview.page(tmp_path), "| [practical]")[2:5] == ["1", "0", "8"]


def test_the_command_writes_the_page_and_the_list_shows_the_answers(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "reports", "practical/table-2", "a", {"one": "holds"})
    assert main(["report", "--overview"]) == 0
    assert capsys.readouterr().out == "reports/README.md\nreports/index.html\n"
    assert (tmp_path / "reports" / "README.md").read_text() == overview.page(tmp_path / "reports")
    names = ("README.md", "index.html")
    before = [(tmp_path / "reports" / name).read_bytes() for name in names]
    write(tmp_path / "reports", "practical/table-3", "a", {"one": "holds"})
    with disk_of(1000):
        refused = command("report", "--overview")
    assert refused.code == 1 and len(refused.errors) == 1
    assert refused.err.startswith("sobench: reports: cannot write reports") and "File too large" in refused.err
    assert [(tmp_path / "reports" / name).read_bytes() for name in names] == before
    assert {path.name for path in (tmp_path / "reports").iterdir()} == {*names, "practical"}
    assert main(["list", "reports"]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("practical/table-2")]
    assert line.endswith("1 holds")


def test_a_folder_without_reports_is_refused(tmp_path):
    with pytest.raises(UsageError, match="no report"):
        overview.page(tmp_path)
    assert overview.described(tmp_path) == {}
