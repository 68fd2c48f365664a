"""`sobench plan ID --power`: the seeds and hours that each undecided claim of a report still needs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from sobench.cli.arguments import Selection
from sobench.cli.by_need import asked_by_need, seeds_in_order
from sobench.cli.until_decided import prospects
from sobench.errors import UsageError
from sobench.system.text import format_duration, plural, table

if TYPE_CHECKING:
    from sobench.report.claims import Verdict
    from sobench.report.prospects import Prospects

HEAD = ("claim", "now", "n", "needed", "runs", "time")


def power(selected: Selection, budget: str | None) -> int:
    """Print a line for each claim that seeds can still decide, the total, and the number of the other claims.

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
    print(*lines(ahead, in_report), sep="\n")
    return 0


def lines(ahead: Prospects, in_report: Sequence[Verdict]) -> list[str]:
    """The lines of the plan, the cheapest claim first.

    in_report: the verdicts of the report as it is: without added seeds, by the tests of a fixed number of seeds.
    """
    from sobench.report.claims import NOT_JUDGED, NOT_RUN, UNDECIDED

    now = {verdict.claim.id: verdict.verdict for verdict in in_report}
    steps = [(step, v) for v in ahead.undecided if (step := ahead.enough(v))]
    steps.sort(key=lambda pair: pair[0].seconds)
    rows = [
        (
            verdict.claim.id,
            now[verdict.claim.id],
            str(verdict.n),
            f"{step.number} seeds",
            str(len(step.runs)),
            format_duration(step.seconds),
        )
        for step, verdict in steps
    ]
    text = table([HEAD, *rows], align="llrrr") if rows else []
    planned = {verdict.claim.id for _, verdict in steps}
    text += [f"{v.claim.id}: {_beyond(v)}" for v in ahead.undecided if v.claim.id not in planned]
    runs = frozenset[tuple[str, int]]().union(*(step.runs for step, _ in steps))
    text.append(f"{plural(len(ahead.undecided), 'claim')} to decide")
    if steps:
        text[-1] += (
            f"; {len(steps)} of them by {plural(len(runs), 'run')}, {format_duration(ahead.seconds(runs))} run "
            "sequentially; a run of several claims is counted once"
        )
    if answered := sum(now[verdict.claim.id] != UNDECIDED for verdict in ahead.undecided):
        are = "claim is" if answered == 1 else "claims are"
        text.append(f"now: {answered} {are} answered with a fixed number of seeds; seeds by need have to show more")
    others = Counter(v.verdict for v in ahead.verdicts if v.verdict in (NOT_JUDGED, NOT_RUN))
    if others:
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
