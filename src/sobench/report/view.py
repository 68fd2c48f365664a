"""A report as its pages show it: facts, table, verdicts, settings and notes, before Markdown or HTML."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sobench.report import choice
from sobench.report.choice import Tried
from sobench.report.claims import ALPHA, Verdict
from sobench.report.evidence import Evidence
from sobench.report.facts import facts
from sobench.report.figures.caption import caption
from sobench.report.lines import Line
from sobench.report.paired import NONE
from sobench.report.parts import shown, shown_interval
from sobench.report.schema.spec import Report
from sobench.report.settings import Settings, settings_of_methods
from sobench.report.table import Contents

FOOTER = (
    f"A claim is answered if its adjusted p value is below {ALPHA}. `p` is of what the verdict says: of the "
    "opposite, where it fails; of `holds`, where it is undecided. The adjusted p value is by Holm's method over "
    "all claims of the report about outcomes; a cost (memory, the time of a step) is tested by itself. The "
    "interval is that of Student at 95 %. A run that diverged counts as worse than any that finished."
)
"""How to read the numbers of the claims."""


@dataclass(frozen=True)
class View:
    """What the pages of a report show. Parts that a report lacks are None or empty.

    caption: of the figure. verdicts: of all claims, also of those of which no run was asked for. settings: the section
    with all settings of the methods, and the one without those that nobody set.
    """

    report: Report
    facts: dict[str, Line]
    table: Contents | None
    caption: str
    tried: Tried | None
    verdicts: list[Verdict]
    settings: tuple[Settings, Settings] | None
    notes: list[str]

    @property
    def judged(self) -> list[Verdict]:
        """The verdicts on claims of which runs were asked for."""
        return [verdict for verdict in self.verdicts if verdict.asked]

    @property
    def left_out(self) -> list[str]:
        """The ids of the claims of which no run was asked for."""
        return [verdict.claim.id for verdict in self.verdicts if not verdict.asked]


def of(evidence: Evidence, provenance: Mapping[str, Any], contents: Contents | None, verdicts: list[Verdict]) -> View:
    """The view of a report. contents: those of its table, if it has one."""
    report = evidence.report
    return View(
        report,
        facts(provenance),
        contents,
        caption(report, provenance["states"]) if report.figure else "",
        choice.table(evidence, report.choice) if report.choice else None,
        verdicts,
        settings_of_methods(evidence, provenance),
        [note.text for note in report.notes if not note.where or evidence.results.select(note.where)],
    )


def why(verdict: Verdict) -> str:
    """The reason why a claim has no answer, and what would decide it: "about 4 more seeds would decide"."""
    return "; ".join(text for text in (verdict.reason, verdict.more and f"{verdict.more} would decide") if text)


def statistics(verdict: Verdict) -> str:
    """ "Paired t-test, p = 0.01, adjusted 0.04, 5 of 5 seeds." """
    test = "" if verdict.test == NONE else f"{verdict.test[0].upper()}{verdict.test[1:]}, "
    p = "" if math.isnan(verdict.p) else f"p = {shown(verdict.p)}, adjusted {shown(verdict.adjusted)}, "
    return f"{test}{p}{verdict.n} of {verdict.expected} seeds."


def effect(verdict: Verdict) -> str:
    """The effect with its interval: "-0.12 [-0.2, -0.05]"; a dash if it is unknown."""
    return "–" if math.isnan(verdict.effect) else shown(verdict.effect) + shown_interval(verdict.low, verdict.high)


def or_dash(number: float) -> str:
    """The number in a few digits; a dash if it is unknown."""
    return "–" if math.isnan(number) else shown(number)
