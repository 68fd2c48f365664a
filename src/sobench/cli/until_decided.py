"""`sobench reproduce ID --until-decided`: adds seeds where they decide most per hour, until every claim is answered.

The declared runs are made first. Each round then brings one claim to its next look (see `sobench.report.looks`). The
record of the seeds is written before the runs of a round start, so an interrupted command goes on where it ended.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sobench.cli.by_need import Asked, asked_by_need, has_result, launch, make, root_of, seeds_in_order
from sobench.results.state import KEEPS
from sobench.system.text import format_duration, plural

if TYPE_CHECKING:
    from sobench.config.run import Run
    from sobench.report.claims import Verdict
    from sobench.report.prospects import Prospects, Step

OPTION = "reproduce --until-decided"


def until_decided(report_id: str, overrides: Sequence[str], limit: float | None) -> tuple[int, Asked]:
    """Make the declared runs and those of added seeds; the exit code, and the runs.

    limit: the seconds that all runs made here may take. Raises UsageError as `asked_by_need`, Failure as `make`.
    """
    wanted = asked_by_need(OPTION, report_id, overrides)
    assert wanted.record is not None
    record = wanted.record
    declared = {(run.cell, run.seed) for run in wanted.declared}
    seeds = seeds_in_order(wanted)
    before = {run.id for run in _at_hand(wanted, seeds)}
    record.write()
    code = make(wanted)
    while True:
        ahead = prospects(report_id, wanted, seeds)
        used = _seconds_since(before, ahead)
        step, reason = _choose(ahead, limit, used)
        if step is None:
            _say(f"{_count(ahead.verdicts)}; {format_duration(used)} used; stopped: {reason}")
            return code, wanted
        added = plural(len({seed for _, seed in step.runs}), "seed")
        _say(
            f"{_count(ahead.verdicts)}; {format_duration(used)} used; next: {step.claim.id} at {step.number} seeds, "
            f"{added} added, {plural(len(step.missing), 'run')} to make, about {format_duration(step.seconds)}"
        )
        record = record.with_runs(step.runs - declared)
        record.write()
        wanted = wanted.by_need(record)
        batch = [run for run in wanted.runs if (run.cell, run.seed) in step.runs]
        code = max(code, launch(batch, wanted.selected.overrides))
        if not any(map(has_result, batch)):
            _say(f"stopped: none of the {plural(len(step.runs), 'run')} of the last round has a result")
            return max(code, 1), wanted


def prospects(report_id: str, wanted: Asked, seeds: Sequence[int]) -> Prospects:
    """The verdicts on the claims by looks, and what the undecided ones need. seeds: those of `seeds_in_order`."""
    from sobench.report import read
    from sobench.report.claims import judge
    from sobench.report.columns import of
    from sobench.report.evidence import Evidence
    from sobench.report.prospects import Prospects
    from sobench.results.collection import collect

    report = read(report_id)
    evidence = Evidence(report, collect(wanted.runs, root_of(wanted.declared), of(report)), wanted.looks)
    made = {(run.cell, run.seed) for run in _at_hand(wanted, seeds)} - {(run.cell, run.seed) for run in wanted.runs}
    return Prospects(evidence, judge(evidence), seeds, frozenset(made))


def _at_hand(wanted: Asked, seeds: Sequence[int]) -> list[Run]:
    """The runs of all seeds up to the last look that have a result, for whatever they were made."""
    assert wanted.record is not None
    every = wanted.record.with_runs((run.cell, seed) for run in wanted.declared for seed in seeds)
    return [run for run in wanted.by_need(every).runs if has_result(run)]


def _choose(ahead: Prospects, limit: float | None, used: float) -> tuple[Step | None, str]:
    """The best step that fits into the limit; None, with the reason, if there is none."""
    steps = ahead.next_steps()
    fitting = [step for step in steps if limit is None or used + step.seconds <= limit]
    if fitting:
        return fitting[0], ""
    if steps:
        return None, f"no further step fits into the budget of {format_duration(limit or 0.0)}"
    looks = ahead.evidence.looks
    left = sum(verdict.need is not None for verdict in ahead.undecided)
    if left and looks:
        return None, f"no look is left for {plural(left, 'claim')}, the last is at {looks.last} seeds"
    return None, "every claim that seeds can decide is answered"


def _count(verdicts: Sequence[Verdict]) -> str:
    """ "2 of 3 claims answered, 1 undecided" """
    from sobench.report.claims import FAILS, HOLDS, UNDECIDED

    answers = [verdict.verdict for verdict in verdicts]
    answered = sum(answer in (HOLDS, FAILS) for answer in answers)
    return f"{answered} of {plural(len(answers), 'claim')} answered, {answers.count(UNDECIDED)} undecided"


def _seconds_since(before: set[str], ahead: Prospects) -> float:
    """The recorded time of the results that this command made."""
    results = ahead.evidence.results
    made = [run for run in results.runs if run.id not in before and results.states[run.id].status in KEEPS]
    return sum(results.states[run.id].spent_seconds for run in made)


def _say(line: str) -> None:
    print(f"seeds by need: {line}", flush=True)
