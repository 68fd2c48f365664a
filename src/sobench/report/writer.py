"""Writes a report: all files are made in a draft folder first, then each is moved to its place."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sobench.errors import UsageError
from sobench.report import columns, formats, pages, records, table
from sobench.report.claims import judge
from sobench.report.evidence import Evidence
from sobench.report.figures import figure
from sobench.report.looks import Looks
from sobench.report.provenance import BY_NEED, as_json, command, provenance
from sobench.report.schema.catalogue import read
from sobench.report.schema.spec import Report
from sobench.results.collection import Results, collect

if TYPE_CHECKING:
    from sobench.config.run import Run

FILES = (
    "report.md",
    "table.csv",
    "table.md",
    "table.tex",
    "figure.png",
    "figure.pdf",
    "claims.md",
    "claims.csv",
    "values.csv",
    "curves.csv",
    "provenance.json",
)
"""The files of a report, in the order in which they are named."""


def write(
    report_id: str,
    runs: Sequence[Run],
    runs_root: Path,
    out: Path,
    *,
    folder: Path | None = None,
    settings: Sequence[str] | None = None,
    looks: Looks | None = None,
) -> list[Path]:
    """Write the report into the folder `out`, from the results of the expected `runs` under `runs_root`; the files
    written.

    folder: that of the reports' files (default: those of sobench). settings: those that asked for the runs, for the
    command that the report shows. looks: those of seeds that were added by need. Raises UsageError if the report does
    not exist or has an error, or if none of its runs is finished.
    """
    report = read(report_id, folder=folder)
    again = command(report.id, runs, settings) + (f" {BY_NEED}" if looks else "")
    results = collect(runs, Path(runs_root), columns.of(report))
    _require_finished(report, results, Path(runs_root), again)
    evidence = Evidence(report, results, looks)
    out = Path(out)
    with drafted(out) as draft:
        origin = provenance(evidence, again, settings or ())
        render(evidence, origin, draft, folder=folder)
        for name, text in {
            "provenance.json": as_json(origin),
            **records.as_csv(evidence.numbers, results.runs),
        }.items():
            (draft / name).write_text(text, encoding="utf-8")
    return [out / name for name in FILES if (out / name).exists()]


def render(evidence: Evidence, origin: dict[str, Any], out: Path, *, folder: Path | None = None) -> None:
    """Write the page, the table, the figure and the claims of a report into `out`."""
    report = evidence.report
    verdicts = judge(evidence)
    texts = {}
    if report.table:
        contents = table.contents(evidence)
        texts |= {
            "table.csv": formats.to_csv(contents),
            "table.md": formats.to_markdown(contents),
            "table.tex": formats.to_latex(contents, f"{report.title} ({report.source})."),
        }
    if verdicts:
        texts |= {
            "claims.md": f"# Claims: {report.title}\n\n" + pages.claims_markdown(verdicts),
            "claims.csv": pages.claims_csv(verdicts),
        }
    if report.figure:
        figure.figure(evidence, out, folder=folder)
    texts["report.md"] = pages.report_markdown(evidence, origin, texts.get("table.md"), verdicts)
    for name, text in texts.items():
        (out / name).write_text(text, encoding="utf-8")


@contextmanager
def drafted(out: Path) -> Iterator[Path]:
    """A folder for the new files of a report, which replace those in `out` when the block ends.

    A file of a report that is not made again, left by an earlier version, is deleted.
    """
    out.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=".draft-", dir=out))
    try:
        yield draft
        for name in FILES:
            if (draft / name).exists():
                os.replace(draft / name, out / name)
            else:
                (out / name).unlink(missing_ok=True)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _require_finished(report: Report, results: Results, runs_root: Path, again: str) -> None:
    if any(state.status in ("done", "diverged") for state in results.states.values()):
        return
    counts = Counter(state.status for state in results.states.values())
    states = ", ".join(f"{count} {status}" for status, count in counts.items())
    raise UsageError(
        f"report {report.id}: none of its {len(results.runs)} runs under {runs_root} is finished "
        f"({states}); make them with: {again}"
    )
