"""`sobench plan ID --power`: the seeds and hours that each undecided claim of a report still needs."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from sobench.cli.answer import Answer, shown
from sobench.cli.arguments import Selection
from sobench.cli.by_need import asked_by_need, seeds_in_order
from sobench.cli.until_decided import prospects
from sobench.errors import UsageError
from sobench.system.text import format_duration, plural, table

if TYPE_CHECKING:
    from sobench.report.claims import Verdict
    from sobench.report.prospects import Prospects, Step

HEAD = ("claim", "now", "n", "needed", "runs", "time")


def power(selected: Selection, budget: str | None) -> Answer:
    """A line for each claim that seeds can still decide, the total, and the number of the other claims.

    Raises UsageError for what is no report, for seeds in the overrides, and for a budget.
    """
    from sobench.report.claims import judge

    if budget:
        raise UsageError("plan --power: got --budget, allowed: sobench reproduce ID --until-decided --budget TIME")
    name = _report_of(selected)
    wanted = asked_by_need("plan --power", name, selected.overrides)
    ahead = prospects(name, wanted, seeds_in_order(wanted))
    is_recorded = wanted.record is not None and wanted.record.path.exists()
    in_report = ahead.verdicts if is_recorded else judge(replace(ahead.evidence, looks=None))
    needs = needs_of(ahead, in_report)
    return Answer(partial(_document, name, ahead, needs), shown(*lines(ahead, needs)))


@dataclass(frozen=True)
class Need:
    """An undecided claim. now: its answer in the report. step: the look that decides it, None if none does."""

    verdict: Verdict
    now: str
    step: Step | None


def needs_of(ahead: Prospects, in_report: Sequence[Verdict]) -> list[Need]:
    """The undecided claims, the cheapest first, those that no look decides last.

    in_report: the verdicts of the report as it is: without added seeds, by the tests of a fixed number of seeds.
    """
    now = {verdict.claim.id: verdict.verdict for verdict in in_report}
    needs = [Need(verdict, now[verdict.claim.id], ahead.enough(verdict)) for verdict in ahead.undecided]
    return sorted(needs, key=_seconds)


def _seconds(need: Need) -> float:
    return need.step.seconds if need.step else math.inf


def _runs(needs: Sequence[Need]) -> frozenset[tuple[str, int]]:
    """The runs that all steps have to make; one of several claims is there once."""
    return frozenset[tuple[str, int]]().union(*(need.step.missing for need in needs if need.step))


def _others(ahead: Prospects) -> Counter[str]:
    """The number of claims that seeds cannot decide, by their answer."""
    from sobench.report.claims import NOT_JUDGED, NOT_RUN

    return Counter(v.verdict for v in ahead.verdicts if v.verdict in (NOT_JUDGED, NOT_RUN))


def _document(name: str, ahead: Prospects, needs: Sequence[Need]) -> dict[str, Any]:
    """The plan for programs."""
    runs = _runs(needs)
    return {
        "report": name,
        "claims": [
            {
                "id": need.verdict.claim.id,
                "now": need.now,
                "n": need.verdict.n,
                "needed": need.step.number if need.step else None,
                "runs": len(need.step.missing) if need.step else None,
                "seconds": need.step.seconds if need.step else None,
                "reason": None if need.step else _beyond(need.verdict),
            }
            for need in needs
        ],
        "runs": len(runs),
        "seconds": ahead.seconds(runs),
        "not_by_seeds": _others(ahead),
    }


def lines(ahead: Prospects, needs: Sequence[Need]) -> list[str]:
    """The lines of the plan."""
    from sobench.report.claims import UNDECIDED

    rows = [
        (
            need.verdict.claim.id,
            need.now,
            str(need.verdict.n),
            f"{need.step.number} seeds",
            str(len(need.step.missing)),
            format_duration(need.step.seconds),
        )
        for need in needs
        if need.step
    ]
    text = table([HEAD, *rows], align="llrrr") if rows else []
    text += [f"{need.verdict.claim.id}: {_beyond(need.verdict)}" for need in needs if not need.step]
    text.append(f"{plural(len(needs), 'claim')} to decide")
    if rows:
        runs = _runs(needs)
        text[-1] += (
            f"; {len(rows)} of them by {plural(len(runs), 'run')}, {format_duration(ahead.seconds(runs))} run "
            "sequentially; a run of several claims is counted once"
        )
    if answered := sum(need.now != UNDECIDED for need in needs):
        are = "claim is" if answered == 1 else "claims are"
        text.append(f"now: {answered} {are} answered with a fixed number of seeds; seeds by need have to show more")
    if others := _others(ahead):
        counts = ", ".join(f"{count} {answer}" for answer, count in others.items())
        text.append(f"{plural(others.total(), 'claim')} that seeds cannot decide: {counts}")
    return text


def _beyond(verdict: Verdict) -> str:
    """ "needs more seeds than the 41 of the last look" """
    return f"needs {verdict.more}" if verdict.more else verdict.reason


def _report_of(selected: Selection) -> str:
    """The report that is selected. Raises UsageError for settings alone, and for an experiment that is no report."""
    from sobench.config.files import members
    from sobench.report import reports

    name = selected.experiment
    if name is None:
        raise UsageError(
            f"plan --power: got {' '.join(selected.overrides)}, allowed: a report, as `sobench list reports` prints it"
        )
    if name not in reports() and name in members("experiment"):
        its = ", ".join(reports(name))
        allowed = f"a report of it: {its}" if its else "a report, as `sobench list reports` prints it"
        raise UsageError(f"plan --power: got the experiment {name!r}, allowed: {allowed}")
    return name
