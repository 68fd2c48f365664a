"""Verdicts on a paper's claims, over paired seeds: holds, fails, undecided, not judged, or not run.

A claim's test is one of
    compare  the subject is better than each of its rivals: the differences of the seeds that both have;
    ratio    the subject's metric over the one rival's, at_most / at_least / within bounds: in logarithms;
    bound    the subject's metric, at_most / at_least / within bounds;
    share    at least a share of the rows of a run lie within such bounds, or are better than the rival's of its step;
    robust   at least a share of the settings that were tried come within `times` of the best of them.
The first three test one value for each seed, taken where `at` or `reach` says; `at: every` takes the row that is most
against the claim, so that the claim is true of all rows. One run of which a row contradicts it is enough that it cannot
hold. `growth` makes the value the exponent with which the metric grows with a setting.

A claim has two raw p values: of "it is false", the largest over its rivals and metrics (intersection-union), and of
"it is true", the smallest over them (Bonferroni); for `within` as `sobench.report.paired` says. The claims of a report
about outcomes are adjusted together, see `sobench.report.holm`; a cost is tested by itself. The claim holds if the
adjusted p value of "it is false" is below ALPHA, and fails if that of "it is true" is. Otherwise it is undecided.

It is not judged where its runs are no evidence: they stopped before its scope (`sobench.report.scope`), had unequal
budgets, did not converge where the time until then is tested, are of a look-alike data set or a part of one, have
the budget `smoke`, or have no value to test. With such a rival a claim cannot hold, but it can fail against another
rival. Runs that stopped early still give a reading, which is not a verdict.

Fewer than two pairs decide nothing, except for a count that no seed changes, of which one is enough. A run that
diverged counts as worse than any that finished; `sobench.report.paired` describes how it enters the tests. Where seeds
are added by need, the raw p values are those of `sobench.report.looks`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sobench.report import scope
from sobench.report.cuts import Cut
from sobench.report.evidence import Evidence
from sobench.report.holm import ALPHA, Adjusted, adjust, alone
from sobench.report.looks import Looks, Need
from sobench.report.paired import COUNTED, MOST, NONE, POWER
from sobench.report.parts import Detail, Part, Undefined, contradiction, described, named, shown
from sobench.report.parts import parts as all_parts
from sobench.report.schema.spec import Claim, Test
from sobench.report.settings import value_text
from sobench.results.pick import EXACT
from sobench.results.state import KEEPS, STATUSES
from sobench.system.text import plural

if TYPE_CHECKING:
    from sobench.config.run import Run

HOLDS, FAILS, UNDECIDED, NOT_JUDGED, NOT_RUN = "holds", "fails", "undecided", "not judged", "not run"
ANSWERS = (HOLDS, FAILS, UNDECIDED, NOT_JUDGED, NOT_RUN)


@dataclass(frozen=True)
class Verdict:
    """The verdict on one claim.

    effect, low, high, p, n: of the part that decides, the rival hardest to beat. effect: the mean difference, the
    geometric mean ratio, the mean, or the share; low, high: its 95 % confidence interval. p: of the verdict; of "holds"
    if there is none. adjusted: p by Holm's method; p itself for a cost. NaN: unknown. reason: why nothing was decided.
    more: the seeds that would decide it. reading: what runs say that are no evidence for a verdict. asked: whether any
    run of the claim was. need: of an undecided claim whose seeds are added by need.
    """

    claim: Claim
    verdict: str
    test: str = NONE
    effect: float = math.nan
    low: float = math.nan
    high: float = math.nan
    p: float = math.nan
    adjusted: float = math.nan
    n: int = 0
    expected: int = 0
    details: list[Detail] = field(default_factory=list)
    reason: str = ""
    more: str = ""
    reading: str = ""
    asked: bool = True
    need: Need | None = None


@dataclass(frozen=True)
class _Finding:
    """What the runs say about a claim, before the claims of the report are adjusted.

    faults: the methods whose runs are no evidence, with the reason. blocked: the reason why none of the runs is.
    looks: as in the evidence.
    """

    claim: Claim
    parts: list[Part]
    faults: Mapping[str, str]
    expected: int
    blocked: str = ""
    reading: str = ""
    looks: Looks | None = None

    @property
    def n(self) -> int:
        """The seeds of the part that has the fewest."""
        return min((part.decision.n for part in self.parts), default=0)

    @property
    def fair(self) -> list[Part]:
        """The parts between methods without a fault."""
        return [part for part in self.parts if not {self.claim.test.subject, part.rival} & self.faults.keys()]

    @property
    def hardest(self) -> Part:
        """The part that is hardest to beat. There is one unless the finding is blocked by an error."""
        return max(self.parts, key=lambda part: part.decision.p_holds)

    @property
    def beaten(self) -> Part:
        return min(self.fair, key=lambda part: part.decision.p_fails, default=self.hardest)

    @property
    def p_holds(self) -> float:
        return 1.0 if not self.parts else self.hardest.decision.p_holds if len(self.fair) == len(self.parts) else 1.0

    @property
    def p_fails(self) -> float:
        return min(1.0, len(self.parts) * self.beaten.decision.p_fails) if self.fair else 1.0

    @property
    def in_family(self) -> bool:
        """Whether this is a test of an outcome, of those that Holm's method adjusts together.

        Where seeds are added by need, a claim that is not tested yet is one too: a family that grew with the seeds
        would be adjusted too little at first.
        """
        if scope.is_cost(self.claim.test):
            return False
        if self.looks:
            return not (self.blocked and self.parts)
        return not self.blocked and any(part.decision.test not in (NONE, COUNTED) for part in self.fair)


def judge(evidence: Evidence) -> list[Verdict]:
    """The verdict on every claim, in the report's order."""
    asked = evidence.asked([claim.test for claim in evidence.report.claims])
    findings = {claim.id: _examine(evidence, claim) for claim in evidence.report.claims if claim.test in asked}
    family = [finding for finding in findings.values() if finding.in_family]
    in_family = adjust([(finding.p_holds, finding.p_fails) for finding in family])
    adjusted = dict(zip([finding.claim.id for finding in family], in_family, strict=True))
    verdicts = []
    for claim in evidence.report.claims:
        finding = findings.get(claim.id)
        if finding is None:
            verdicts.append(Verdict(claim, NOT_RUN, reason="no run of it was asked for", asked=False))
        else:
            p_values = adjusted.get(claim.id) or alone(finding.p_holds, finding.p_fails)
            verdicts.append(_verdict(evidence, finding, p_values))
    return verdicts


def answer(p_values: Adjusted) -> str:
    """The answer that the adjusted p values of a claim give."""
    return HOLDS if p_values.p_holds < ALPHA else FAILS if p_values.p_fails < ALPHA else UNDECIDED


def counted(answers: Iterable[str]) -> str:
    """ "3 holds, 1 fails, 0 undecided, 4 not judged, 1 not run" """
    counts = Counter(answers)
    return ", ".join(f"{counts[name]} {name}" for name in ANSWERS)


def _examine(evidence: Evidence, claim: Claim) -> _Finding:
    test = claim.test
    expected = len({run.seed for run in evidence.fitting(test.subject, test.where)})
    try:
        parts = all_parts(evidence, test)
    except Undefined as error:
        blocked = f"error in {evidence.report.id}, claim {claim.id}: {error}"
        return _Finding(claim, [], {}, expected, blocked, looks=evidence.looks)
    if evidence.looks:
        expected = _of_look(min(parts, key=lambda part: part.look), evidence.looks)
    methods = dict.fromkeys((test.subject, *test.rivals))
    short = {method: runs for method in methods if (runs := _short(evidence, claim, method))}
    cuts = _cuts(evidence, claim)
    faults = {method: str(cut) for method, cut in cuts.items() if method in methods}
    for method, runs in short.items():
        asked = scope.asked(runs, scope.scope_of(claim))
        faults[method] = f"made {_made(evidence, runs)}, {_whose(claim)} asks for {asked}"
    open_times = _unconverged(evidence, test)
    faults |= dict.fromkeys(open_times, "not every run converged")
    look_alikes = ", ".join(evidence.look_alikes(methods, test.where))
    checks = (scope.only_checked(run) for method in methods for run in evidence.fitting(method, test.where))
    if only_checked := next(filter(None, checks), ""):
        blocked, reading = only_checked, ""
    elif look_alikes:
        blocked, reading = f"{look_alikes} stands in for the data of the paper", _reading(parts, f"on {look_alikes}")
    elif short and not (cuts or open_times):
        runs = [run for of_method in short.values() for run in of_method]
        asked = scope.asked(runs, scope.scope_of(claim))
        blocked, reading = "", _reading(parts, f"at {_made(evidence, runs)}", f"; {_whose(claim)}: {asked}")
    else:
        blocked, reading = "", ""
    return _Finding(claim, parts, faults, expected, blocked, reading, evidence.looks)


def _unconverged(evidence: Evidence, test: Test) -> list[str]:
    """The methods with a run that did not converge, where this leaves open what the test compares.

    A run that did not converge takes longer than one on the same seed that did, if it was given as much time. Then it
    is known which of the two is faster, and the time of the other counts as infinite. It is not known if neither
    converged, or for a factor between the two.
    """
    found: list[str] = []
    for metric in test.metrics:
        for method in (test.subject, *test.rivals):
            bounds = evidence.censored(test, metric, method)
            others = test.rivals if method == test.subject else [test.subject]
            if bounds and (
                test.kind != "compare"
                or any(_any_longer(evidence.outcomes(test, metric, other), bounds) for other in others)
            ):
                found.append(method)
    return found


def _any_longer(times: Mapping[int, Any], bounds: Mapping[int, float]) -> bool:
    """Whether a time is longer than the lower bound of the same seed."""
    return any(times.get(seed, 0.0) > bound for seed, bound in bounds.items())


def _of_look(part: Part, looks: Looks) -> int:
    """The seeds of the last complete look of a part, or of the first look."""
    return part.look or looks.numbers[0]


def _short(evidence: Evidence, claim: Claim, method: str) -> list[Run]:
    """The finished runs of a method that did not come as far as the claim's scope says."""
    test, place = claim.test, scope.scope_of(claim)
    runs = evidence.fitting(method, test.where)
    states = {run.id: evidence.results.states[run.id] for run in runs}
    at_level = evidence.values(test, test.metrics[0], method) if test.reach else {}
    return [
        run
        for run in runs
        if states[run.id].status == "done"
        and not scope.reached(run, states[run.id], place)
        and not math.isfinite(at_level.get(run.id, math.inf))
    ]


def _made(evidence: Evidence, runs: list[Run]) -> str:
    return scope.made([evidence.results.states[run.id] for run in runs])


def _whose(claim: Claim) -> str:
    return "budget=paper" if scope.scope_of(claim) == scope.PAPER else "the claim"


def _cuts(evidence: Evidence, claim: Claim) -> Mapping[str, Cut]:
    """The methods that were given fewer epochs than the others, if that makes the comparison unfair.

    It does not if the values are taken at one place that all runs reached.
    """
    test = claim.test
    fair = test.budgets == "any" or test.over_settings or scope.is_cost(test)
    at_a_place = isinstance(test.at, Mapping) and scope.scope_of(claim) == test.at
    return {} if fair or at_a_place else evidence.cuts(test.where)


def _reading(parts: list[Part], place: str, paper: str = "") -> str:
    """ "at 20 epochs: as claimed (p = 0.01, n = 5); budget=paper: 500 s" """
    hardest = max(parts, key=lambda part: part.decision.p_holds)
    beaten = min(parts, key=lambda part: part.decision.p_fails)
    p_holds, p_fails = hardest.decision.p_holds, min(1.0, len(parts) * beaten.decision.p_fails)
    if hardest.decision.test == NONE:
        return ""
    words = {HOLDS: "as claimed", FAILS: "the opposite", UNDECIDED: "undecided"}[answer(alone(p_holds, p_fails))]
    part, p = (beaten, p_fails) if words == "the opposite" else (hardest, p_holds)
    return f"{place}: {words} (p = {shown(p)}, n = {part.decision.n}){paper}"


def _verdict(evidence: Evidence, finding: _Finding, p_values: Adjusted) -> Verdict:
    claim, test = finding.claim, finding.claim.test
    verdict, reason, more, need, looks = answer(p_values), "", "", None, evidence.looks
    if finding.blocked or verdict == UNDECIDED:
        verdict, reason = _undecided(evidence, finding)
    is_open = all(part.open for part in finding.parts)
    if verdict == UNDECIDED and looks and is_open:
        need = _need(finding, p_values, looks)
        more = _more_looks(need, looks)
        reason = reason or ("" if need.chances else f"the last look, at {looks.last} seeds, is made")
    elif verdict == UNDECIDED and is_open:
        more = _more(finding, p_values)
    if verdict in (NOT_JUDGED, NOT_RUN):
        reading = finding.reading if verdict == NOT_JUDGED else ""
        return Verdict(claim, verdict, n=finding.n, expected=finding.expected, reason=reason, reading=reading)
    part = finding.beaten if verdict == FAILS else finding.hardest
    p, adjusted = (finding.p_fails, p_values.p_fails) if verdict == FAILS else (finding.p_holds, p_values.p_holds)
    if part.decision.test in (NONE, COUNTED):
        p = adjusted = math.nan
    names = " and ".join(dict.fromkeys(named(test, part) for part in finding.parts))
    what = "rivals" if len(finding.parts) == len(test.rivals) else "parts"
    several = f"; intersection-union over {len(finding.parts)} {what}" if len(finding.parts) > 1 else ""
    return Verdict(
        claim,
        verdict,
        names + several + (f"; {looks}" if looks and part.decision.test != COUNTED else ""),
        part.effect,
        part.low,
        part.high,
        p,
        adjusted,
        part.decision.n,
        _of_look(part, looks) if looks else finding.expected,
        [described(test, part) for part in finding.parts],
        reason,
        more,
        need=need,
    )


def _where(test: Test) -> str:
    """ " with dataset=curves, model=vgg": the settings that a test asks for; "" if it takes all runs."""
    alternatives = {key: value if isinstance(value, list) else [value] for key, value in test.where.items()}
    texts = [f"{key}={' or '.join(map(value_text, values))}" for key, values in alternatives.items()]
    return f" with {', '.join(texts)}" if texts else ""


def _undecided(evidence: Evidence, finding: _Finding) -> tuple[str, str]:
    """The answer to a claim that neither holds nor fails, and its reason."""
    test = finding.claim.test
    absent = [method for method in dict.fromkeys((test.subject, *test.rivals)) if not _finished(evidence, test, method)]
    if absent:
        return NOT_RUN, f"no finished run of {', '.join(absent)}{_where(test)}"
    if finding.blocked:
        return NOT_JUDGED, finding.blocked
    if finding.faults:
        return NOT_JUDGED, _listed(finding)
    if evidence.looks and not all(part.look for part in finding.parts):
        return UNDECIDED, f"the first look, at {evidence.looks.numbers[0]} seeds, is not complete"
    fewest = min(finding.parts, key=lambda part: part.decision.n)
    if fewest.decision.test != NONE:
        refuting = next((part for part in finding.parts if not part.open), None)
        return UNDECIDED, f"{contradiction(refuting)}, so it cannot hold" if refuting else ""
    seeds = "paired seeds" if fewest.rival else "seeds"
    reason = f"needs at least {1 if fewest.metric in EXACT else 2} {seeds}, has {fewest.decision.n}"
    if left_out := _left_out(evidence, test):
        return NOT_JUDGED, f"{reason}; {left_out}"
    if fewest.decision.n == 0:
        return NOT_JUDGED, f"no value of {fewest.metric} to test"
    return UNDECIDED, reason


def _listed(finding: _Finding) -> str:
    """The faults of the methods: "sgd, adam: made 2 steps, budget=paper asks for 7 epochs; newton: ..." """
    by_fault: dict[str, list[str]] = {}
    for method, fault in finding.faults.items():
        by_fault.setdefault(fault, []).append(method)
    everyone = {finding.claim.test.subject, *finding.claim.test.rivals}
    whose = {
        fault: "every method" if len(everyone) > 2 and everyone == set(methods) else ", ".join(methods)
        for fault, methods in by_fault.items()
    }
    return "; ".join(f"{whose[fault]}: {fault}" for fault in by_fault)


def _finished(evidence: Evidence, test: Test, method: str) -> bool:
    runs = evidence.fitting(method, test.where)
    return any(evidence.results.states[run.id].status in KEEPS for run in runs)


def _left_out(evidence: Evidence, test: Test) -> str:
    """The finished runs that do not count for this test, such as those that shared a GPU: "2 runs shared"."""
    counts: Counter[str] = Counter()
    for metric in test.metrics:
        states = evidence.states(test, metric)
        runs = {run.id for method in (test.subject, *test.rivals) for run in evidence.fitting(method, test.where)}
        counts |= Counter(status for run in runs if (status := states[run].status) not in STATUSES)
    return ", ".join(f"left out: {plural(count, 'run')} {status}" for status, count in sorted(counts.items()))


def _more(finding: _Finding, p_values: Adjusted) -> str:
    """The number of further seeds that would decide a claim: "about 4 more seeds"."""
    toward_holds = all(part.points_to_holds for part in finding.parts)
    if toward_holds:
        needs = [part.seeds_needed(p_values.level_holds) for part in finding.parts]
        seeds = max((n for n in needs if n is not None), default=None) if None not in needs else None
    else:
        against = [part for part in finding.fair if not part.points_to_holds]
        needs = [part.seeds_needed(p_values.level_fails / len(finding.parts)) for part in against]
        seeds = min((n for n in needs if n is not None), default=None)
    n = finding.n
    if n < 2:
        return f"at least {2 - n} more {'seed' if n == 1 else 'seeds'}"
    return f"more than {MOST:,} more seeds" if seeds is None else f"about {plural(max(1, seeds - n), 'more seed')}"


def _need(finding: _Finding, p_values: Adjusted, looks: Looks) -> Need:
    """The methods whose runs an undecided claim needs, and the chance of each look that is left.

    A claim that points to `holds` needs the rivals that are not beaten yet, each of them; one that points to `fails`
    needs the rival with the best chance.
    """
    if all(part.points_to_holds for part in finding.parts):
        level = p_values.level_holds
        parts = [part for part in finding.parts if part.decision.p_holds >= level] or finding.parts
    else:
        level = p_values.level_fails / len(finding.parts)
        against = [part for part in finding.fair if not part.points_to_holds]
        parts = [max(against, key=lambda part: float(part.chances(level, looks).max()))]
    made = min(part.look for part in parts)
    chances = [min(of_look) for of_look in zip(*(part.chances(level, looks) for part in parts), strict=True)]
    methods = dict.fromkeys((finding.claim.test.subject, *(part.rival for part in parts if part.rival)))
    left = {number: float(chance) for number, chance in zip(looks.numbers, chances, strict=True) if number > made}
    return Need(tuple(methods), left)


def _more_looks(need: Need, looks: Looks) -> str:
    """The number of seeds, from those of the last complete look on, with which a look would decide a claim."""
    if not need.chances:
        return ""
    made = max((number for number in looks.numbers if number < min(need.chances)), default=0)
    enough = need.enough(POWER)
    if enough is None:
        return f"more seeds than the {looks.last} of the last look"
    return f"about {plural(enough - made, 'more seed')} (the look at {enough})"
