"""The files of a comparison: written from a study, and made again from comparison.json and outcomes.csv alone."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path

from sobench.errors import Failure
from sobench.report.comparison import study, web_page
from sobench.report.comparison.figure import drawn
from sobench.report.comparison.page import Page, for_terminal, page, to_latex, to_markdown
from sobench.report.comparison.rows import to_csv
from sobench.report.comparison.study import Study
from sobench.report.draft import drafted
from sobench.report.figures.saving import PDF, PNG, save
from sobench.report.web import NAME
from sobench.results import keep
from sobench.results.digests import sha256
from sobench.system.beside import beside

FOLDER = "compare"
"""The folder of the comparisons, below that of the reports."""
ABOUT, OUTCOMES = "comparison.json", "outcomes.csv"
KEPT = (ABOUT, OUTCOMES)
FILES = ("report.md", NAME, "numbers.csv", "tables.tex", PNG, PDF, *KEPT)
"""The files of a comparison, in the order in which they are named."""


@dataclass(frozen=True)
class Written:
    """A comparison that was written. lines: what a terminal shows. paths: its files. page: computes its numbers."""

    lines: list[str]
    paths: list[Path]
    page: Callable[[], Page]


def write(compared: Study, out: Path, cache: Path) -> Written:
    """Write all files into the folder `out`, unless it has them: of the same study, made by the same code.

    cache: a folder for what is known of them. Raises Failure if they cannot be written.
    """
    about, outcomes = study.to_json(compared), study.to_csv(compared)
    place = cache / f"{sha256(str(out.resolve()).encode())[:16]}.json"
    paths = [out / name for name in FILES]
    made_from = sha256("\0".join([_code(), about, outcomes]).encode())
    known = keep.load(place, made_from)
    if known and known["files"] == _digests(paths):
        return Written(known["lines"], paths, lambda: page(study.read(about, outcomes)))
    with drafted(out, FILES) as draft:
        (draft / ABOUT).write_text(about, encoding="utf-8")
        (draft / OUTCOMES).write_text(outcomes, encoding="utf-8")
        shown = render(study.read(about, outcomes), draft, out)  # from the files, which alone give the same page again
    lines = for_terminal(shown)
    keep.save(place, made_from, {"lines": lines, "files": _digests(paths)})
    return Written(lines, paths, lambda: shown)


def _digests(paths: Sequence[Path]) -> dict[str, str] | None:
    """The digest of each file; None if one is missing."""
    try:
        return {path.name: sha256(path.read_bytes()) for path in paths}
    except OSError:
        return None


def _code() -> str:
    """A digest of all code that may take part in a page: every file of sobench, and the versions of its libraries."""
    package = Path(__file__).parents[2]
    files = sorted(file for file in package.rglob("*") if file.is_file() and file.suffix != ".pyc")
    versions = [sys.version, *map(version, ("numpy", "scipy", "matplotlib", "jinja2"))]
    return sha256("\0".join([*versions, *(sha256(file.read_bytes()) for file in files)]).encode())


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
