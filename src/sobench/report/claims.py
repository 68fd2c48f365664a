"""Verdicts on a paper's claims: holds, fails, or undecided, over paired seeds.

A claim's test is one of
    compare  the subject is better than each of its rivals: the differences of the seeds that both have;
    ratio    the subject's metric over the one rival's, at_most / at_least / within bounds: in logarithms;
    bound    the subject's metric, at_most / at_least / within bounds;
    share    at least a share of the rows of a run lie within such bounds, or are better than the rival's of the same
    step; robust   at least a share of the settings that were tried come within `times` of the best of them.
The first three test one value for each seed, taken where `at` or `reach` says; `at: every` takes the row that
contradicts the claim most, so that the claim is true of all rows. `growth` makes the value the exponent with which the
metric grows with a setting.

A claim holds if its alternative is accepted at level ALPHA: for several rivals or metrics, if it is accepted for each
of them (intersection-union: the largest p value counts); for `within`, if two one-sided tests accept. It fails if the
opposite is accepted at that level (for any rival, metric or side: Bonferroni). Anything else is undecided.

Fewer than two pairs decide nothing, except for a count that no seed changes, of which one is enough. Neither do runs
that were given different numbers of epochs, unless the test says `budgets: any` or the metric is a cost: with such a
rival a claim cannot hold, but it can fail against another rival. Each claim is tested by itself.

A run that diverged counts as worse than any that finished; `sobench.report.paired` describes how it enters the tests.
"""

from __future__ import annotations

from dataclasses import dataclass

from sobench.report.cuts import Cut
from sobench.report.evidence import Evidence
from sobench.report.paired import NONE
from sobench.report.parts import Part, described, named
from sobench.report.parts import parts as all_parts
from sobench.report.schema.spec import Claim, Test
from sobench.results.pick import COSTS, EXACT

ALPHA = 0.05
HOLDS, FAILS, UNDECIDED = "holds", "fails", "undecided"


@dataclass(frozen=True)
class Verdict:
    """The verdict on one claim.

    effect, p, n: of the part that decides, the rival hardest to beat. effect: the mean difference, the geometric mean
    ratio, the mean, or the share. p: of the verdict; of "holds" if undecided. reason: why nothing was decided.
    """

    claim: Claim
    verdict: str
    test: str
    effect: float
    p: float
    n: int
    expected: int
    details: list[str]
    reason: str = ""


def judge(evidence: Evidence) -> list[Verdict]:
    """The verdict on every claim for which the selection has runs, in the report's order."""
    asked = evidence.asked([claim.test for claim in evidence.report.claims])
    return [_judge(evidence, claim) for claim in evidence.report.claims if claim.test in asked]


def _judge(evidence: Evidence, claim: Claim) -> Verdict:
    test = claim.test
    parts = all_parts(evidence, test)
    cuts = _cuts(evidence, test)
    fair = [part for part in parts if not {test.subject, part.rival} & cuts.keys()]
    hardest = max(parts, key=lambda part: part.decision.p_holds)
    beaten = min(fair, key=lambda part: part.decision.p_fails, default=hardest)
    p_fails = min(1.0, len(parts) * beaten.decision.p_fails)
    verdict, part, p, reason = UNDECIDED, hardest, hardest.decision.p_holds, ""
    if fair and p_fails < ALPHA:
        verdict, part, p = FAILS, beaten, p_fails
    elif len(fair) == len(parts) and p < ALPHA:
        verdict = HOLDS
    else:
        reason = _reason(test, parts, cuts)
    names = " and ".join(dict.fromkeys(named(test, part) for part in parts))
    what = "rivals" if len(parts) == len(test.rivals) else "parts"
    several = f"; intersection-union over {len(parts)} {what}" if len(parts) > 1 else ""
    expected = len({run.seed for run in evidence.fitting(test.subject, test.where)})
    return Verdict(
        claim,
        verdict,
        names + several,
        part.effect,
        p,
        part.decision.n,
        expected,
        [described(test, part) for part in parts],
        reason,
    )


def _cuts(evidence: Evidence, test: Test) -> dict[str, Cut]:
    """The methods that were given fewer epochs than the others, if that makes the comparison unfair."""
    fair = test.budgets == "any" or test.over_settings or COSTS.issuperset(test.metrics)
    return {} if fair else evidence.cuts(test.where)


def _reason(test: Test, parts: list[Part], cuts: dict[str, Cut]) -> str:
    """The reason why nothing was decided, besides the p value; may be empty."""
    reasons = [f"{method} was {cuts[method]}" for method in (test.subject, *test.rivals) if method in cuts]
    part = min(parts, key=lambda part: part.decision.n)
    if part.decision.test == NONE:
        seeds = "paired seeds" if part.rival else "seeds"
        reasons.append(f"needs at least {1 if part.metric in EXACT else 2} {seeds}, has {part.decision.n}")
    return "; ".join(reasons)
