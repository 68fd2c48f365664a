"""The pages of a report in Markdown: report.md, and its claims as Markdown and CSV."""

from __future__ import annotations

import csv
import io
import math

from sobench.report import choice, formats
from sobench.report.claims import Verdict, counted
from sobench.report.formats import Markdown
from sobench.report.lines import markdown
from sobench.report.parts import shown
from sobench.report.settings import Settings
from sobench.report.view import FOOTER, View, effect, or_dash, statistics, why

_escape = Markdown.escape
_COLUMNS = ("id", "verdict", "effect", "low", "high", "p", "adjusted_p", "n", "expected", "test", "reason", "more")
_COLUMNS += ("reading_without_verdict", "details", "source", "text", "reading")


def claims_csv(verdicts: list[Verdict]) -> str:
    """Every claim of the report, also those of which no run was asked for. An unknown number is an empty cell."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for v in verdicts:
        numbers = [_number(x) for x in (v.effect, v.low, v.high, v.p, v.adjusted)]
        claim, details = v.claim, "; ".join(map(str, v.details))
        texts = [v.test, v.reason, v.more, v.reading, details, claim.source, claim.text, claim.reading]
        writer.writerow([claim.id, v.verdict, *numbers, v.n, v.expected, *texts])
    return file.getvalue()


def _number(value: float) -> str:
    return "" if math.isnan(value) else repr(value) if math.isfinite(value) else shown(value)


def claims_markdown(verdicts: list[Verdict]) -> str:
    """A block for each claim: the sentence, our reading of it, the answer and its numbers."""
    blocks = []
    for v in verdicts:
        if not v.asked:
            continue
        lines = [
            f"### {_escape(v.claim.id)}: {v.verdict}",
            "",
            f"> {_escape(v.claim.text)}",
            f"> ({_escape(v.claim.source)})",
            "",
        ]
        if v.claim.reading:
            lines += [f"Read as: {_escape(v.claim.reading)}", ""]
        lines += [f"{_answer(v)}. {statistics(v)}", ""]
        if v.reading:
            lines += [f"Reading, not a verdict: {_escape(v.reading)}.", ""]
        lines += [f"- {_escape(str(detail))}" for detail in v.details]
        blocks.append("\n".join(lines).rstrip())
    return "\n\n".join([*blocks, FOOTER]) + "\n"


def _answer(v: Verdict) -> str:
    """ "**undecided**: about 4 more seeds" """
    return f"**{v.verdict}**" + (f": {_escape(reason)}" if (reason := why(v)) else "")


def report_markdown(view: View) -> str:
    """The page: title, source, facts about data, budget and runs; table, figure, claims, settings, notes."""
    report = view.report
    facts = "\n".join(f"- {name}: {markdown(fact)}" for name, fact in view.facts.items())
    parts = [f"# {_escape(report.title)}", _escape(report.source) + ".", facts]
    if view.table:
        parts += ["## Table", formats.to_markdown(view.table).rstrip()]
    if view.caption:
        parts += ["## Figure", "![figure](figure.png)", f"{view.caption} [As PDF](figure.pdf)."]
    if report.choice and view.tried:
        rows = [list(map(markdown, row)) for row in view.tried.rows]
        table = Markdown.table(list(map(_escape, view.tried.head)), rows)
        parts += ["## Choice of the settings", f"{choice.sentence(report.choice)}\n\n{table}"]
    if view.verdicts:
        parts += ["## Claims", _overview(view), claims_markdown(view.verdicts).rstrip()]
    if view.settings:
        parts += ["## Settings", settings_markdown(view.settings[0])]
    if view.notes:
        parts += ["## Notes", "\n".join(f"- {_escape(note)}" for note in view.notes)]
    return "\n\n".join(parts) + "\n"


def settings_markdown(settings: Settings) -> str:
    """The settings that all rows share, a table of the others, and a legend."""
    parts = [f"All methods: {markdown(settings.shared)}."] if settings.shared else []
    if settings.rows:
        parts.append(Markdown.table(settings.head, [list(map(markdown, row)) for row in settings.rows]))
    return "\n\n".join([*parts, markdown(settings.legend)])


def _overview(view: View) -> str:
    """The counts of the answers, a table of the claims, and the readings that are no verdicts."""
    rows = [
        [
            _escape(v.claim.id),
            _escape(v.claim.text),
            _escape(v.claim.reading) or "as it stands",
            _answer(v),
            f"{v.n} of {v.expected}",
            _escape(effect(v)),
            or_dash(v.p),
            or_dash(v.adjusted),
        ]
        for v in view.judged
    ]
    head = ["claim", "the paper says", "we read it as", "answer", "n", "effect [95 % interval]", "p", "adjusted p"]
    lines = [f"{counted(v.verdict for v in view.verdicts)}.", "", Markdown.table(head, rows)]
    readings = [f"- {_escape(v.claim.id)}: {_escape(v.reading)}" for v in view.judged if v.reading]
    if readings:
        lines += [
            "",
            "Readings of runs that decide nothing. They are not verdicts, and are not counted:",
            "",
            *readings,
        ]
    if view.left_out:
        lines += ["", f"Left out, as no run of theirs was asked for: {', '.join(map(_escape, view.left_out))}."]
    return "\n".join(lines)
