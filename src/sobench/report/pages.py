"""The pages of a report: report.md, and its claims as Markdown and CSV."""

from __future__ import annotations

import csv
import io
import math
from collections import Counter

from sobench.report.claims import ALPHA, Verdict
from sobench.report.formats import Markdown
from sobench.report.parts import shown
from sobench.report.schema.spec import Report

_escape = Markdown.escape


def claims_csv(verdicts: list[Verdict]) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(
        ["id", "verdict", "test", "effect", "p", "n", "expected", "reason", "details", "source", "text", "reading"]
    )
    for v in verdicts:
        effect = repr(v.effect) if math.isfinite(v.effect) else shown(v.effect)
        writer.writerow(
            [
                v.claim.id,
                v.verdict,
                v.test,
                effect,
                repr(v.p),
                v.n,
                v.expected,
                v.reason,
                "; ".join(v.details),
                v.claim.source,
                v.claim.text,
                v.claim.reading,
            ]
        )
    return file.getvalue()


def claims_markdown(verdicts: list[Verdict]) -> str:
    """A block for each claim: the sentence, our reading of it, the verdict and its numbers."""
    blocks = []
    for v in verdicts:
        reason = f" ({_escape(v.reason)})" if v.reason else ""
        lines = [
            f"### {_escape(v.claim.id)}: {v.verdict}",
            "",
            f"> {_escape(v.claim.text)}",
            f"> ({_escape(v.claim.source)})",
            "",
        ]
        if v.claim.reading:
            lines += [f"Read as: {_escape(v.claim.reading)}", ""]
        lines += [f"**{v.verdict}**{reason}: {v.test}, p = {shown(v.p)}, {v.n} of {v.expected} seeds.", ""]
        lines += [f"- {_escape(detail)}" for detail in v.details]
        blocks.append("\n".join(lines))
    footer = (
        f"Each claim is tested by itself at level {ALPHA}, over paired seeds. `p` is of what the verdict says: "
        "of the opposite, where it fails. A run that diverged counts as worse than any that finished."
    )
    return "\n\n".join([*blocks, footer]) + "\n"


def report_markdown(report: Report, provenance: dict, table: str | None, verdicts: list[Verdict]) -> str:
    """The page: title, source, facts about data, budget and runs; table, figure, claims, notes."""
    parts = [f"# {_escape(report.title)}", _escape(report.source) + ".", _facts(report, provenance)]
    if table:
        parts += ["## Table", table.rstrip()]
    if report.figure:
        parts += ["## Figure", "![figure](figure.png)", f"{_key(report, provenance)} [As PDF](figure.pdf)."]
    if verdicts:
        parts += ["## Claims", _overview(verdicts) + _left_out(report, verdicts), claims_markdown(verdicts).rstrip()]
    if report.notes:
        parts += ["## Notes", "\n".join(f"- {_escape(note)}" for note in report.notes)]
    return "\n\n".join(parts) + "\n"


def _key(report: Report, provenance: dict) -> str:
    """The meaning of the figure's lines and marks."""
    kinds, text = {panel.kind for panel in report.panels}, []
    if "curve" in kinds:
        text.append("Solid: mean over seeds; shaded: its standard error.")
        if "diverged" in provenance["states"]:
            text.append("Dashed, ending in a cross: a method of which no run finished, up to where the first diverged.")
    if "contour" in kinds:
        text.append(
            "Contours: mean over seeds, interpolated between the settings that were tried (dots). Cross: a seed "
            "diverged, and the setting is left out. Ring: not every seed is finished. Star: the best."
        )
    if "heatmap" in kinds:
        text.append(
            "Matrices: of the first seed; red is above zero and blue below, by logarithms down to a thousandth of the "
            "largest entry."
        )
    return " ".join(text)


def _overview(verdicts: list[Verdict]) -> str:
    rows = [f"| {_escape(v.claim.id)} | {_escape(v.claim.text)} | **{v.verdict}** |" for v in verdicts]
    return "\n".join(["| claim | the paper says | on our runs |", "| --- | --- | --- |", *rows])


def _left_out(report: Report, verdicts: list[Verdict]) -> str:
    judged = {v.claim.id for v in verdicts}
    absent = [_escape(claim.id) for claim in report.claims if claim.id not in judged]
    return f"\n\nLeft out, as no run of theirs was asked for: {', '.join(absent)}." if absent else ""


def _facts(report: Report, provenance: dict) -> str:
    seeds, environments = provenance["seeds"], provenance["environments"]
    states = ", ".join(f"{count} {status}" for status, count in provenance["states"].items())
    budgets = "; ".join(_budget(budget) for budget in provenance["budgets"]) or "not recorded"
    machine = ", ".join(str(name) for name in environments["device_name"] or environments["device"]) or "not recorded"
    versions = ", ".join(
        f"{name} {'/'.join(map(str, environments[name]))}" for name in ("sobench", "torch") if environments[name]
    )
    facts = {
        "Data": ", ".join(provenance["data"]),
        "Budget": budgets,
        "Runs": f"{seeds['found']} of {seeds['expected']} finished ({states})",
        "Device": machine,
        **({"Timing": provenance["timing"]} if provenance["timing"] else {}),
        "Versions": versions or "not recorded",
        "Experiment": f"`{report.experiment}`; made with "
        f"`{provenance['command']}`, and every run is named in [provenance.json](provenance.json)",
    }
    facts |= {"Stale": stale} if (stale := _stale(report, provenance)) else {}
    return "\n".join(f"- {name}: {fact if '`' in fact else _escape(fact)}" for name, fact in facts.items())


def _stale(report: Report, provenance: dict) -> str | None:
    """The line about runs made by older code or from other data: their number by method, and the reason."""
    found = Counter((run["optimizer"], run["dataset"], run["stale"]) for run in provenance["runs"] if "stale" in run)
    if not found:
        return None
    which = "; ".join(
        f"{count} of {_escape(optimizer)} on {_escape(data)} ({why})" for (optimizer, data, why), count in found.items()
    )
    settings = provenance["command"].partition(report.id)[2]
    command = f"sobench retry {report.experiment}{settings} --stale"
    return f"{found.total()} run{'s' * (found.total() > 1)}, {which}; made again with `{command}`"


def _budget(budget: object) -> str:
    """ "cpu: 7 epochs" """
    if not isinstance(budget, dict):
        return str(budget)
    limits = ", ".join(f"{budget[unit]:,} {unit}" for unit in ("epochs", "steps", "seconds") if budget.get(unit))
    return ": ".join(part for part in (str(budget.get("name") or ""), limits) if part)
