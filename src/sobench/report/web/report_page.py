"""The page of a report: verdicts, the table beside the published numbers, the figure, settings, notes and runs."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping
from itertools import groupby
from typing import Any

from sobench.report import choice, formats, view
from sobench.report.claims import ANSWERS, NOT_RUN, Verdict
from sobench.report.evidence import Evidence
from sobench.report.facts import facts
from sobench.report.figures.figure import Drawn
from sobench.report.figures.saving import PDF
from sobench.report.lines import in_ticks, line
from sobench.report.schema.spec import Claim, Column
from sobench.report.table import Contents
from sobench.report.view import View
from sobench.report.web.charts import charts
from sobench.report.web.render import render
from sobench.report.web.runs import beginning, runs_of
from sobench.report.web.tables import Cell, Grid, cell, of_lines

OWN = "own/"
"""The beginning of the ids of reports that belong to no paper."""


def page(shown: View, evidence: Evidence, drawn: Drawn | None, origin: Mapping[str, Any]) -> str:
    """The page. drawn: the figure, if the report has one."""
    report, settings = shown.report, shown.settings[1] if shown.settings else None
    runs = runs_of(origin, _names(evidence))
    return render(
        "report.html",
        **_head(report.title, origin, shown.facts),
        view=shown,
        withdrawn="",
        judged=_by_sentence([verdict for verdict in shown.judged if verdict.verdict != NOT_RUN]),
        not_run=_by_reason([verdict for verdict in shown.judged if verdict.verdict == NOT_RUN]),
        counts=_counts(shown),
        table=_table(shown.table, evidence) if shown.table else None,
        picture="",
        figure=charts(drawn.panels, drawn.entries, drawn.texts, drawn.note) if drawn else None,
        sentence=in_ticks(choice.sentence(report.choice)) if report.choice else (),
        tried=of_lines("Settings that were tried", shown.tried.head, shown.tried.rows, frozenset({0, 1, 4}))
        if shown.tried
        else None,
        settings=settings,
        of_methods=of_lines("Settings", settings.head, settings.rows, None) if settings and settings.rows else None,
        notes=list(map(in_ticks, shown.notes)),
        runs=runs,
        beginning=beginning(runs),
        files=_files(shown, evidence),
    )


def withdrawn(title: str, origin: Mapping[str, Any], table: str, picture: str) -> str:
    """The page of a report whose verdicts were withdrawn. table: its table.csv, or "". picture: its figure, or ""."""
    files = ["report.md", "provenance.json", *(["table.csv"] if table else []), *([PDF] if picture else [])]
    return render(
        "report.html",
        **_head(title, origin, facts(origin)),
        view=None,
        withdrawn=origin["withdrawn"],
        judged=[],
        not_run={},
        counts=[],
        table=_written_table(table) if table else None,
        picture=picture,
        figure=None,
        sentence=(),
        tried=None,
        settings=None,
        of_methods=None,
        notes=[],
        runs=[],
        beginning=("", []),
        files=files,
    )


def _head(title: str, origin: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    """What every page of a report begins with. up: the way to the folder of all reports."""
    name = origin["report"]
    depth = name.count("/") + (0 if name.startswith(OWN) else 2)
    return {"title": title, "source": origin["source"], "id": name, "facts": found, "up": "../" * depth}


def _by_sentence(verdicts: list[Verdict]) -> list[tuple[Claim, list[tuple[Verdict, str, str, str]]]]:
    """Each sentence of the paper with the verdicts on its readings, each with its reason, effect and statistics.

    Only claims that follow each other share their sentence, so that the order is that of the report.
    """
    groups = groupby(verdicts, key=lambda verdict: (verdict.claim.text, verdict.claim.source))
    return [
        (of_sentence[0].claim, [(v, view.why(v), view.effect(v), view.statistics(v)) for v in of_sentence])
        for of_sentence in (list(group) for _, group in groups)
    ]


def _by_reason(verdicts: list[Verdict]) -> dict[str, list[str]]:
    """The ids of claims that were not run, by the reason."""
    found: dict[str, list[str]] = {}
    for verdict in verdicts:
        found.setdefault(view.why(verdict), []).append(verdict.claim.id)
    return found


def _counts(shown: View) -> list[tuple[str, int]]:
    """Each answer with the number of claims that have it."""
    answers = [verdict.verdict for verdict in shown.verdicts]
    return [(answer, answers.count(answer)) for answer in ANSWERS if answer in answers]


def _table(contents: Contents, evidence: Evidence) -> Grid:
    """The table with the seeds behind each of our numbers."""
    head, words = ["Method"], frozenset({0})
    for column in contents.columns:
        head += [column.label, *([column.published_as] if column.published else [])]
    recorded = evidence.asked(evidence.report.columns)  # the columns of the table have other labels
    rows = []
    for row in contents.rows:
        hashes = [_hashes(own, row.method, evidence) for own in recorded]
        shared = hashes[0] if all(of_column == hashes[0] for of_column in hashes) else []
        cells = [Cell(line(row.label), cells=shared)]
        for column, own, entry, of_column in zip(contents.columns, recorded, row.cells, hashes, strict=True):
            mean, spread, gap = formats.ours_in_words(entry, column)
            text = f"{mean} ± {spread}" if spread else mean or gap or "missing"
            seeds = [] if own.growth else _seeds(own, row.method, evidence)
            cells.append(Cell(line(text), entry.rank or "", entry.mark, gap if mean else "", "Seeds", seeds, of_column))
            if column.published:
                cells.append(cell(" ± ".join(formats.published_in_words(entry, column)) or "–"))
        found = dict.fromkeys(f"{entry.ours.found}/{entry.ours.expected}" for entry in row.cells)
        rows.append([*cells, cell(", ".join(found)), cell(row.steps or "–"), cell(row.epochs or "–")])
    return Grid("Table", [*head, "n", "steps", "epochs"], rows, words, contents.footnotes, contents.notes)


def _hashes(column: Column, method: str, evidence: Evidence) -> list[str]:
    """The hashes of the configurations behind a number."""
    return list(dict.fromkeys(run.cell for run in evidence.fitting(method, column.where)))


def _seeds(column: Column, method: str, evidence: Evidence) -> list[tuple[str, str]]:
    """Each seed of a number with its value or its state."""
    runs = evidence.fitting(method, column.where)
    values, states = evidence.values(column, column.metric, method), evidence.states(column, column.metric)
    found = []
    for run in sorted(runs, key=lambda run: run.seed):
        value, state = values.get(run.id, math.nan), states[run.id].status
        known, done = not math.isnan(value), state == "done"
        remark = "" if done else f" ({state})" if known else state
        text = f"{value:.6g}" if known else "not recorded" if done else ""
        found.append((str(run.seed), text + remark))
    return found


def _names(evidence: Evidence) -> dict[str, str]:
    """The labels of the methods that show a configuration, by its hash."""
    labels: dict[str, list[str]] = {}
    for name, method in evidence.report.methods.items():
        for cell_hash in dict.fromkeys(run.cell for run in evidence.fitting(name, {})):
            labels.setdefault(cell_hash, []).append(method.label)
    return {cell_hash: ", ".join(of_cell) for cell_hash, of_cell in labels.items()}


def _files(shown: View, evidence: Evidence) -> list[str]:
    """The files beside the page that a reader may want."""
    report = shown.report
    return [
        "report.md",
        *([PDF] if report.figure else []),
        *(["table.csv", "table.tex"] if shown.table else []),
        *(["claims.csv"] if shown.verdicts else []),
        *(["settings.csv"] if report.choice else []),
        *(["values.csv", "curves.csv"] if evidence.numbers.kept else []),
        "provenance.json",
    ]


def _written_table(text: str) -> Grid:
    """The table of a table.csv, of which the runs are gone: a row for each method."""
    lines = list(csv.DictReader(io.StringIO(text)))
    columns = list(dict.fromkeys(one["column"] for one in lines))
    with_published = {one["column"] for one in lines if one.get("published")}
    head, rows = ["Method"], []
    for column in columns:
        head += [column, *(["published"] if column in with_published else [])]
    for label in dict.fromkeys(one["label"] for one in lines):
        own = {one["column"]: one for one in lines if one["label"] == label}
        row = [cell(label)]
        for column in columns:
            one = own.get(column, {})
            row.append(cell(_written(one.get("mean"), one.get("stderr")) or one.get("gaps") or "–"))
            if column in with_published:
                row.append(cell(_written(one.get("published"), one.get("published_spread")) or "–"))
        rows.append(row)
    notes = ["Mean ± standard error over the seeds that finished, to four digits; table.csv has all digits."]
    return Grid("Table", head, rows, frozenset({0}), {}, notes)


def _written(mean: str | None, spread: str | None) -> str:
    return " ± ".join(f"{float(number):.4g}" for number in (mean, spread) if number)
