"""Writes a report: its page, table, figure, claims, numbers and provenance."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sobench.errors import UsageError
from sobench.report import choice, columns, formats, pages, records, table, view
from sobench.report.claims import judge
from sobench.report.draft import drafted
from sobench.report.evidence import Evidence
from sobench.report.figures import figure
from sobench.report.figures.saving import PDF, PNG, save
from sobench.report.looks import Looks
from sobench.report.provenance import BY_NEED, as_json, command, provenance
from sobench.report.schema.catalogue import as_yaml, read
from sobench.report.schema.spec import Report
from sobench.report.web import NAME, report_page
from sobench.results.collection import Results, collect
from sobench.results.state import KEEPS
from sobench.system.beside import beside
from sobench.system.text import plural

if TYPE_CHECKING:
    from sobench.config.run import Run

DESCRIPTION = "description.yaml"
"""The description of a report that has none among those of sobench."""

FILES = (
    "report.md",
    NAME,
    "table.csv",
    "table.md",
    "table.tex",
    PNG,
    PDF,
    "claims.md",
    "claims.csv",
    "settings.csv",
    "values.csv",
    "curves.csv",
    "provenance.json",
    DESCRIPTION,
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
    require_finished(f"report {report.id}", results, Path(runs_root), again)
    evidence = Evidence(report, results, looks)
    return _written(evidence, provenance(evidence, again, settings or ()), Path(out), folder=folder)


def write_described(
    report: Report, results: Results, out: Path, again: str, settings: Sequence[str] | None
) -> list[Path]:
    """Write a report of these results, which has no file among the descriptions, with its description; the files.

    again: the command that makes the report. settings: those that asked for the runs, None if they are not known.
    """
    evidence, text = Evidence(report, results), as_yaml(report)
    origin = provenance(evidence, again, settings) | {"description_sha256": digest_of(text)}
    return _written(evidence, origin, Path(out), more={DESCRIPTION: text})


def _written(
    evidence: Evidence,
    origin: dict[str, Any],
    out: Path,
    *,
    folder: Path | None = None,
    more: Mapping[str, str] | None = None,
) -> list[Path]:
    """Write the files of a report into `out`; the files. more: the texts of further files, by name."""
    with drafted(out, FILES) as draft:
        with beside(lambda: (draft / "provenance.json").write_text(as_json(origin), encoding="utf-8")):
            render(evidence, origin, draft, folder=folder)
        texts = records.as_csv(evidence.numbers, evidence.results.runs)
        for name, text in {**texts, **(more or {})}.items():
            (draft / name).write_text(text, encoding="utf-8")
    return [out / name for name in FILES if (out / name).exists()]


def digest_of(description: str) -> str:
    """The digest of a description, by which a changed one is known."""
    return hashlib.sha256(description.encode()).hexdigest()


def render(evidence: Evidence, origin: dict[str, Any], out: Path, *, folder: Path | None = None) -> None:
    """Write the pages, the table, the figure and the claims of a report into `out`."""
    report = evidence.report
    verdicts = judge(evidence)
    contents = table.contents(evidence) if report.table else None
    drawn = figure.drawn(evidence, folder=folder) if report.figure else None
    texts = {}
    if contents:
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
    if report.choice:
        texts["settings.csv"] = choice.to_csv(evidence, report.choice)
    with beside(partial(save, drawn.sheet, out)) if drawn else nullcontext():
        shown = view.of(evidence, origin, contents, verdicts)
        texts |= {"report.md": pages.report_markdown(shown), NAME: report_page.page(shown, evidence, drawn, origin)}
    for name, text in texts.items():
        (out / name).write_text(text, encoding="utf-8")


def require_finished(name: str, results: Results, runs_root: Path, again: str) -> None:
    """Raises UsageError, with the states and the command that makes the runs, if none of them has a result."""
    if any(state.status in KEEPS for state in results.states.values()):
        return
    counts = Counter(state.status for state in results.states.values())
    states = ", ".join(f"{count} {status}" for status, count in counts.items())
    raise UsageError(
        f"{name}: none of its {plural(len(results.runs), 'run')} under {runs_root} is finished "
        f"({states}); make them with: {again}"
    )
