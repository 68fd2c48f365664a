"""The files of a comparison: written from a study, and made again from comparison.json and outcomes.csv alone."""

from __future__ import annotations

from pathlib import Path

from sobench.errors import Failure
from sobench.report.comparison import figure, study
from sobench.report.comparison.page import Page, page, to_csv, to_latex, to_markdown
from sobench.report.comparison.study import Study
from sobench.report.writer import drafted

ABOUT, OUTCOMES = "comparison.json", "outcomes.csv"
KEPT = (ABOUT, OUTCOMES)
FILES = ("report.md", "numbers.csv", "tables.tex", "figure.png", "figure.pdf", *KEPT)
"""The files of a comparison, in the order in which they are named."""


def write(compared: Study, out: Path) -> tuple[Page, list[Path]]:
    """Write all files into the folder `out`; the page and the files. Raises Failure if they cannot be written."""
    with drafted(out, FILES) as draft:
        (draft / ABOUT).write_text(study.to_json(compared), encoding="utf-8")
        (draft / OUTCOMES).write_text(study.to_csv(compared), encoding="utf-8")
        shown = render(read(draft), draft)  # from the files, so that they alone give the same page again
    return shown, [out / name for name in FILES]


def read(folder: Path) -> Study:
    """The study that was written into a folder. Raises Failure for damaged files."""
    try:
        return study.read((folder / ABOUT).read_text("utf-8"), (folder / OUTCOMES).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise Failure(f"{folder}: {error}") from error


def render(compared: Study, out: Path) -> Page:
    """Write the files that follow from the study into `out`."""
    shown = page(compared)
    figure.draw(compared, shown.numbers, out)
    (out / "report.md").write_text(to_markdown(shown, "figure.png"), encoding="utf-8")
    (out / "numbers.csv").write_text(to_csv(shown), encoding="utf-8")
    (out / "tables.tex").write_text(to_latex(shown), encoding="utf-8")
    return shown
