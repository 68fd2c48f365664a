"""The files of a comparison: written from a study, and made again from comparison.json and outcomes.csv alone."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from sobench.errors import Failure
from sobench.report.comparison import study, web_page
from sobench.report.comparison.figure import drawn
from sobench.report.comparison.page import Page, page, to_latex, to_markdown
from sobench.report.comparison.rows import to_csv
from sobench.report.comparison.study import Study
from sobench.report.draft import drafted
from sobench.report.figures.saving import PDF, PNG, save
from sobench.report.web import NAME
from sobench.system.beside import beside

FOLDER = "compare"
"""The folder of the comparisons, below that of the reports."""
ABOUT, OUTCOMES = "comparison.json", "outcomes.csv"
KEPT = (ABOUT, OUTCOMES)
FILES = ("report.md", NAME, "numbers.csv", "tables.tex", PNG, PDF, *KEPT)
"""The files of a comparison, in the order in which they are named."""


def write(compared: Study, out: Path) -> tuple[Page, list[Path]]:
    """Write all files into the folder `out`; the page and the files. Raises Failure if they cannot be written."""
    with drafted(out, FILES) as draft:
        (draft / ABOUT).write_text(study.to_json(compared), encoding="utf-8")
        (draft / OUTCOMES).write_text(study.to_csv(compared), encoding="utf-8")
        shown = render(read(draft), draft, out)  # from the files, so that they alone give the same page again
    return shown, [out / name for name in FILES]


def read(folder: Path) -> Study:
    """The study that was written into a folder. Raises Failure for damaged files."""
    try:
        return study.read((folder / ABOUT).read_text("utf-8"), (folder / OUTCOMES).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise Failure(f"{folder}: {error}") from error


def render(compared: Study, out: Path, place: Path) -> Page:
    """Write the files that follow from the study into `out`. place: the folder where they belong, by which the page
    finds the one over all reports.
    """
    shown = page(compared)
    figure = drawn(compared, shown.numbers)
    with beside(partial(save, figure.sheet, out)):
        others = [name for name in FILES if name not in (NAME, PNG)]
        text = web_page.page(shown, figure, others, _depth(place))
        (out / NAME).write_text(text, encoding="utf-8")
        (out / "report.md").write_text(to_markdown(shown, PNG), encoding="utf-8")
        (out / "numbers.csv").write_text(to_csv(compared, shown.numbers), encoding="utf-8")
        (out / "tables.tex").write_text(to_latex(shown), encoding="utf-8")
    return shown


def _depth(place: Path) -> int:
    """The depth of a comparison's folder below that of all reports: 2 of reports/compare/small."""
    parts = place.resolve().parts
    below = [number for number, part in enumerate(parts) if part == FOLDER]
    return len(parts) - below[-1] if below else 2
