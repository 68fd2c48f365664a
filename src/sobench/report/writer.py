"""Write a report: everything is made in a folder beside its place first, then each file is moved there at once."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from sobench.errors import UsageError
from sobench.report import columns, formats, pages, table
from sobench.report.claims import judge
from sobench.report.evidence import Evidence
from sobench.report.figures import figure
from sobench.report.provenance import as_json, command, provenance
from sobench.report.schema.catalogue import read
from sobench.report.schema.spec import Report
from sobench.results.collection import Results, collect
from sobench.system import interpreter

FILES = (
    "report.md",
    "table.csv",
    "table.md",
    "table.tex",
    "figure.png",
    "figure.pdf",
    "claims.md",
    "claims.csv",
    "provenance.json",
)


@interpreter.put_off()
def write(
    report_id: str,
    runs: list[Run],
    runs_root: Path,
    out: Path,
    *,
    folder: Path | None = None,
    settings: Sequence[str] | None = None,
) -> list[Path]:
    """Write the report into the folder `out`, from those of the expected `runs` that are under `runs_root`.

    Returns the files written, report.md first. Raises UsageError if the report is not there or not right, or if none of
    its runs is finished. `folder` is where the reports' descriptions are (default: those of sobench); `settings` are those that
    asked for the runs, for the command that the report gives.
    """
    report = read(report_id, folder=folder)
    again = command(report.id, runs, settings)
    results = collect(runs, Path(runs_root), columns.of(report))
    _require_finished(report, results, Path(runs_root), again)
    evidence = Evidence(report, results)
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=".draft-", dir=out))
    try:
        _draft(evidence, draft, folder, again)
        written = [name for name in FILES if (draft / name).exists()]
        for name in written:
            os.replace(draft / name, out / name)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    for name in set(FILES) - set(written):  # of an earlier description of this report
        (out / name).unlink(missing_ok=True)
    return [out / name for name in written]


def _draft(evidence: Evidence, out: Path, folder: Path | None, again: str) -> None:
    """Write all files of the report into `out`; `again` is the command that makes it."""
    report = evidence.report
    origin = provenance(evidence, again)
    verdicts = judge(evidence)
    texts = {"provenance.json": as_json(origin)}
    if report.table:
        found = table.contents(evidence)
        texts |= {
            "table.csv": formats.to_csv(found),
            "table.md": formats.to_markdown(found),
            "table.tex": formats.to_latex(found, f"{report.title} ({report.source})."),
        }
    if verdicts:
        texts |= {
            "claims.md": f"# Claims: {report.title}\n\n" + pages.claims_markdown(verdicts),
            "claims.csv": pages.claims_csv(verdicts),
        }
    if report.figure:
        figure.figure(evidence, out, folder=folder)
    texts["report.md"] = pages.report_markdown(report, origin, texts.get("table.md"), verdicts)
    for name, text in texts.items():
        (out / name).write_text(text, encoding="utf-8")


def _require_finished(report: Report, results: Results, runs_root: Path, again: str) -> None:
    if any(state.status in ("done", "diverged") for state in results.states.values()):
        return
    found = Counter(state.status for state in results.states.values())
    states = ", ".join(f"{count} {status}" for status, count in found.items())
    raise UsageError(
        f"report {report.id}: none of its {len(results.runs)} runs under {runs_root} is finished "
        f"({states}); make them with: {again}"
    )
