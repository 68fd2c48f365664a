"""`sobench open`: the page of a report, of a folder or of all reports; what it says without a page or a display."""

from __future__ import annotations

import json
import sys
import webbrowser

import pytest

from sobench.cli.main import main

ORIGIN = {"data": ["mnist"], "budgets": ["cpu"], "environments": {"device": ["cpu"]}, "runs": [{"seed": 0}]}


@pytest.fixture
def shown(tmp_path, monkeypatch) -> list[str]:
    """A folder with reports of two artifacts, and the addresses that a browser is asked to show."""
    for name in ("practical/table-2/cpu", "practical/table-3/cpu", "practical/table-3/paper"):
        folder = tmp_path / "reports" / name
        folder.mkdir(parents=True)
        (folder / "provenance.json").write_text(json.dumps({"report": name.rpartition("/")[0], **ORIGIN}))
        (folder / "index.html").write_text("page")
    (tmp_path / "reports/index.html").write_text("page")
    addresses: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda address: addresses.append(address) or True)
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.chdir(tmp_path)
    return addresses


@pytest.mark.parametrize(
    ("arguments", "page"),
    [
        ([], "reports/index.html"),
        (["reports"], "reports/index.html"),
        (["practical/table-2"], "reports/practical/table-2/cpu/index.html"),
        (["reports/practical/table-3/paper"], "reports/practical/table-3/paper/index.html"),
        (["reports/practical/table-3/paper/index.html"], "reports/practical/table-3/paper/index.html"),
        (["practical/table-3"], "reports/index.html#practical-table-3"),  # which has two reports
    ],
)
def test_a_page_is_shown_and_its_path_printed(shown, tmp_path, capsys, arguments, page):
    assert main(["open", *arguments]) == 0
    assert capsys.readouterr() == (f"{page}\n", "")
    assert shown == [f"{tmp_path.as_uri()}/{page}"]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems need no variable for a display")
def test_without_a_display_the_path_alone_is_printed(shown, monkeypatch, capsys):
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"):
        monkeypatch.delenv(name, raising=False)
    assert main(["open"]) == 0
    out, err = capsys.readouterr()
    assert out == "reports/index.html\n" and err.count("\n") == 1 and "no display" in err
    assert not shown


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [
        ("practical/tabel-3", 2, "did you mean 'practical/table-3'?"),
        ("practical/fig-2", 2, "practical/fig-2 has no report in reports; write one with: sobench report"),
        ("reports/practical", 1, "not written yet; write it with: sobench report --overview reports/practical"),
    ],
)
def test_what_cannot_be_shown_is_one_line(shown, capsys, name, code, words):
    assert main(["open", name]) == code
    out, err = capsys.readouterr()
    assert not out and err.count("\n") == 1 and words in err and not shown


def test_a_report_without_a_page_names_the_command_that_writes_it(shown, tmp_path, capsys):
    (tmp_path / "reports/practical/table-2/cpu/index.html").unlink()
    assert main(["open", "practical/table-2"]) == 1
    assert "sobench report --again reports/practical/table-2/cpu" in capsys.readouterr().err
