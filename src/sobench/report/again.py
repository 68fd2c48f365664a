"""Makes written reports again, from their values.csv, curves.csv and provenance.json alone; compares, or replaces them.

Of the pages of `sobench tune` the figure and the page for a browser are made again, from their trials.csv. A comparison
is made again from its comparison.json and outcomes.csv.

A report whose runs are gone, and whose numbers were not written, can be withdrawn: its page keeps the table and the
figure below a line that says so, and its verdicts are deleted. Its page for a browser is made from its table.csv.
"""

from __future__ import annotations

import difflib
import json
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from sobench.errors import Failure, UsageError
from sobench.report import records, tune_pages
from sobench.report.comparison import files as comparison
from sobench.report.draft import drafted
from sobench.report.evidence import Evidence
from sobench.report.figures.saving import PNG
from sobench.report.formats import Markdown
from sobench.report.looks import Looks
from sobench.report.provenance import results_of
from sobench.report.schema.catalogue import read, read_file
from sobench.report.schema.spec import Report
from sobench.report.web import NAME, report_page
from sobench.report.writer import DESCRIPTION, FILES, digest_of, render
from sobench.system.files import parse_json

PAGE, PROVENANCE = "report.md", "provenance.json"
KEPT = (records.VALUES, records.CURVES, PROVENANCE, DESCRIPTION)
"""The files from which the others are made. The description is that of sobench, if it is not in the folder."""
TOLERANCE = 3.0
"""The largest root mean square difference of a channel (0 to 255) between two pictures of the same figure."""
WITHDRAWN = "**Withdrawn.**"
CLAIMS = ("claims.md", "claims.csv")


def folders(paths: Iterable[Path]) -> list[Path]:
    """The folders of reports, tunings and comparisons at or below these paths. Raises UsageError for a path without."""
    found: list[Path] = []
    for path in paths:
        files = (
            [file for name in (PROVENANCE, tune_pages.TRIALS, comparison.ABOUT) for file in path.rglob(name)]
            if path.is_dir()
            else []
        )
        below = sorted({file.parent for file in files})
        if not below:
            raise UsageError(f"{path}: no report; allowed: a folder that has written reports (with {PROVENANCE})")
        found += below
    return list(dict.fromkeys(found))


def is_report(folder: Path) -> bool:
    """Whether a folder has a written report, or the page of `sobench tune` or `sobench compare`."""
    return (folder / PROVENANCE).exists() or is_tuning(folder) or is_comparison(folder)


def is_tuning(folder: Path) -> bool:
    """Whether a folder has the pages of `sobench tune`."""
    return (folder / tune_pages.TRIALS).exists()


def is_comparison(folder: Path) -> bool:
    """Whether a folder has a page of `sobench compare`."""
    return (folder / comparison.ABOUT).exists()


def has_verdicts(folder: Path) -> bool:
    """Whether a folder has the report of an artifact or of runs, whose verdicts can be withdrawn."""
    return not (is_tuning(folder) or is_comparison(folder))


def is_withdrawn(folder: Path) -> bool:
    """Whether the verdicts of the report in this folder were withdrawn."""
    return "withdrawn" in provenance_of(folder)


def differences(folder: Path, *, descriptions: Path | None = None) -> list[str]:
    """A line for each file of a report that is not what its numbers give; of a withdrawn report, for each verdict.

    descriptions: the folder of the reports' descriptions (default: those of sobench).
    """
    if has_verdicts(folder) and is_withdrawn(folder):
        return _against_withdrawal(folder)
    with tempfile.TemporaryDirectory() as place:
        made = Path(place)
        try:
            _make(folder, made, descriptions)
        except (Failure, OSError, UsageError) as error:
            return [str(error)]
        found = [_difference(folder / name, made / name) for name in _made_again(folder)]
    return [line for line in found if line]


def _make(folder: Path, out: Path, descriptions: Path | None) -> None:
    """Write the files that follow from others into `out`."""
    if is_tuning(folder):
        tune_pages.draw_again(folder, out)
    elif is_comparison(folder):
        comparison.render(comparison.read(folder), out, folder)
    else:
        render(evidence_of(folder, descriptions), provenance_of(folder), out, folder=descriptions)


def _made_again(folder: Path) -> list[str]:
    """The files of a folder that follow from others."""
    if is_tuning(folder):
        return [tune_pages.PICTURE, NAME]
    if is_comparison(folder):
        return [name for name in comparison.FILES if name not in comparison.KEPT]
    return [name for name in FILES if name not in KEPT]


def remake(folder: Path, *, descriptions: Path | None = None) -> None:
    """Write the pages, table, figure and verdicts of a report again; of a withdrawn one the page for a browser alone.

    Raises Failure, with the files unchanged.
    """
    if has_verdicts(folder) and is_withdrawn(folder):
        with drafted(folder, [NAME]) as draft:
            (draft / NAME).write_text(_withdrawn_page(folder, provenance_of(folder)), encoding="utf-8")
        return
    with drafted(folder, _made_again(folder)) as draft:
        _make(folder, draft, descriptions)


def withdraw(folder: Path, reason: str) -> None:
    """Delete the verdicts of a report, and write above its page that they are withdrawn, and why.

    Raises Failure, with the files unchanged.
    """
    origin = provenance_of(folder)
    title, _, rest = _page_of(folder).partition("\n\n")
    before, claims, after = rest.partition("\n\n## Claims")
    if before.startswith(f"> {WITHDRAWN}"):
        before = before.partition("\n\n")[2]
    _, heading, others = after.partition("\n\n## ") if claims else ("", "", "")
    banner = f"> {WITHDRAWN} {reason} The table and the figure are kept as they were; no claim is judged here."
    parts = [title, banner, before.rstrip(), *([f"## {others.rstrip()}"] if heading else [])]
    origin = {**origin, "withdrawn": reason}
    texts = {
        PAGE: "\n\n".join(parts) + "\n",
        PROVENANCE: json.dumps(origin, indent=2) + "\n",
        NAME: _withdrawn_page(folder, origin),
    }
    with drafted(folder, (*texts, *CLAIMS)) as draft:
        for name, text in texts.items():
            (draft / name).write_text(text, encoding="utf-8")


def _page_of(folder: Path) -> str:
    """The text of a report's page. Raises Failure if it cannot be read."""
    try:
        return (folder / PAGE).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Failure(f"{folder / PAGE}: {error}") from error


def _withdrawn_page(folder: Path, origin: dict[str, Any]) -> str:
    """The page for a browser of a withdrawn report. Raises Failure for files that cannot be read."""
    path, picture = folder / "table.csv", PNG
    heading, _, _ = _page_of(folder).partition("\n")
    try:
        table = path.read_text(encoding="utf-8") if path.exists() else ""
        title = Markdown.unescape(heading.removeprefix("# "))
        return report_page.withdrawn(title, origin, table, picture * (folder / picture).exists())
    except (OSError, KeyError, ValueError) as error:
        raise Failure(f"its files are damaged: {error}") from error


def provenance_of(folder: Path) -> dict[str, Any]:
    """The contents of a report's provenance.json. Raises Failure for a file that is none."""
    try:
        origin = parse_json((folder / PROVENANCE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Failure(f"{folder / PROVENANCE}: {error}") from error
    if not isinstance(origin, dict) or "report" not in origin:
        raise Failure(f"{folder / PROVENANCE}: not the provenance of a report")
    return origin


def evidence_of(folder: Path, descriptions: Path | None = None) -> Evidence:
    """The evidence that was written into a folder. Raises Failure for a report without it."""
    origin = provenance_of(folder)
    report = report_of(folder, descriptions)
    try:
        looks = Looks(origin["looks"]["first"]) if "looks" in origin else None
        return Evidence(report, results_of(origin), looks, records.read(folder))
    except FileNotFoundError as error:
        name = Path(error.filename).name
        raise Failure(f"no {name}: the report must be made again: {origin['command']}") from error
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise Failure(f"its numbers are damaged: {error}") from error


def report_of(folder: Path, descriptions: Path | None = None) -> Report:
    """The report that was written into a folder, as its own description says, or that among those of sobench.

    Raises as `read` and `provenance_of`.
    """
    name, own = provenance_of(folder)["report"], folder / DESCRIPTION
    return read_file(own, name, str(own)) if own.exists() else read(name, folder=descriptions)


def replaceable_runs(folder: Path) -> set[str]:
    """The ids of the runs of a report with a description of its own, which may be made again for more runs; none if the
    description was edited, or if the report has none."""
    origin, own = provenance_of(folder), folder / DESCRIPTION
    if not own.exists() or digest_of(own.read_text(encoding="utf-8")) != origin.get("description_sha256"):
        return set()
    return {run["id"] for run in origin["runs"]}


def _difference(there: Path, made: Path) -> str:
    """A line about the first difference between a written file and the one made again; empty if they are equal."""
    if not there.exists() and not made.exists():
        return ""
    if not there.exists() or not made.exists():
        return f"{there.name}: {'missing' if made.exists() else 'not a file of this report'}"
    if there.suffix == ".pdf":  # of the same figure as the picture
        return ""
    if there.suffix == ".png":
        return _difference_of_pictures(there, made)
    return _difference_of_texts(there, made.read_text(encoding="utf-8"))


def _difference_of_texts(there: Path, made: str) -> str:
    """A line about the first difference between a written text and the one made again; empty if they are equal."""
    if not there.exists():
        return f"{there.name}: missing"
    old, new = there.read_text(encoding="utf-8").splitlines(), made.splitlines()
    for number, (a, b) in enumerate(zip(old, new, strict=False), 1):
        if a != b:
            return f"{there.name}, line {number}: {_excerpt(a, b)}, its numbers give {_excerpt(b, a)}"
    return "" if len(old) == len(new) else f"{there.name}: {len(old)} lines, its numbers give {len(new)}"


def _excerpt(text: str, other: str, around: int = 30) -> str:
    """The part of a line where it differs from another."""
    match = difflib.SequenceMatcher(None, text, other, autojunk=False).find_longest_match(0, len(text), 0, len(other))
    start = match.size if match.a == match.b == 0 else 0
    return repr(text[max(0, start - around) : start + around])


def _difference_of_pictures(there: Path, made: Path) -> str:
    from matplotlib.image import imread

    if there.read_bytes() == made.read_bytes():
        return ""
    try:
        old, new = imread(there), imread(made)
    except (OSError, SyntaxError, ValueError) as error:
        return f"{there.name}: {error}"
    if old.shape != new.shape:
        return f"{there.name}: {old.shape[1]} x {old.shape[0]} points, its numbers give {new.shape[1]} x {new.shape[0]}"
    off = 255 * float(np.sqrt(np.mean((old - new) ** 2)))
    return f"{there.name}: differs by {off:.1f} of 255, root mean square" if off > TOLERANCE else ""


def _against_withdrawal(folder: Path) -> list[str]:
    """A line for each verdict of a withdrawn report, and for each page that does not say what its files do."""
    found = [f"{name}: a withdrawn report has no verdicts" for name in CLAIMS if (folder / name).exists()]
    try:
        if WITHDRAWN not in _page_of(folder):
            found.append(f"{PAGE}: the line {WITHDRAWN} is missing")
        difference = _difference_of_texts(folder / NAME, _withdrawn_page(folder, provenance_of(folder)))
    except Failure as error:
        difference = str(error)
    return [*found, difference] if difference else found
