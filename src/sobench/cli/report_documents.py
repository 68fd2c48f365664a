"""Written reports as documents for programs, read from their files: for `report --json` and `reproduce --json`."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import Any

_WHOLE = ("n", "expected", "steps")
_NUMBERS = (
    "mean",
    "stderr",
    "published",
    "published_spread",
    "effect",
    "low",
    "high",
    "p",
    "adjusted_p",
    "epochs",
    "score",
)
"""The columns of the files of a report that hold numbers."""
_FLAG = "shown"
""""1" or "0": whether a configuration is the shown one of its method."""


def of_pages(pages: Iterable[Path]) -> dict[str, Any]:
    """A document for each report. pages: their report.md."""
    return {"reports": [_of_report(page.parent) for page in pages]}


def _of_report(folder: Path) -> dict[str, Any]:
    """What was written into the folder of a report."""
    from sobench.report.again import provenance_of, report_of
    from sobench.report.writer import FILES

    report = report_of(folder)
    return {
        "report": report.id,
        "title": report.title,
        "folder": folder,
        "files": [folder / name for name in FILES if (folder / name).exists()],
        "made_with": provenance_of(folder)["command"],
        "table": _rows(folder / "table.csv"),
        "settings": _rows(folder / "settings.csv"),
        "claims": _rows(folder / "claims.csv"),
    }


def _rows(path: Path) -> list[dict[str, Any]]:
    """The lines of a file; none if there is no such file. An empty field is None."""
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return [{key: _value(key, text) for key, text in row.items()} for row in csv.DictReader(file)]


def _value(key: str, text: str) -> str | int | float | bool | None:
    """A field as a number, where its column holds numbers and it is one; else its text."""
    if not text:
        return None
    if key == _FLAG:
        return text == "1"
    try:
        return int(text.replace(",", "")) if key in _WHOLE else float(text) if key in _NUMBERS else text
    except ValueError:  # several numbers, as a range of steps
        return text
