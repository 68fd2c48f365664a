"""Looks at the seeds of a claim: p values that stay valid although seeds are added until they decide.

A test of a fixed number of seeds that is repeated after each added seed rejects a true hypothesis too often. Here the
tests are made at looks, whose numbers of seeds are fixed before any result: the seeds that the experiment declares,
then each time half as many more. The level is spent in equal parts over the LOOKS looks (alpha spending: K. K. G. Lan
and D. L. DeMets, Discrete sequential boundaries for clinical trials, Biometrika 70, 1983, 659-663). So the p value
after any number of seeds is

    p = min over the complete looks k of LOOKS * p_k,

where p_k is the p value of the test of the seeds of look k. By the union bound, P(p <= a) <= sum_k P(p_k <= a / LOOKS)
<= a if the hypothesis is true, whatever decides when to stop, and however the looks depend on each other. The p value
only falls as looks are added, so Holm's method over the claims of a report keeps its level too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from sobench.report.paired import COUNTED, NONE, Decision, between, power

LOOKS = 7
"""The number of looks; the p value of each is multiplied by it."""
GROWTH = 1.5
"""The seeds of a look over those of the look before."""
UNKNOWN = 0.5
"""The chance that a look decides, where fewer than two seeds say nothing about it."""


@dataclass(frozen=True)
class Looks:
    """The looks of a report whose seeds are added by need. first: the number of seeds that its experiment declares."""

    first: int

    @cached_property
    def numbers(self) -> tuple[int, ...]:
        """The numbers of seeds at which there is a look: 3, 5, 8, 12, 18, 27, 41. One seed tests nothing."""
        numbers = [max(2, self.first)]
        while len(numbers) < LOOKS:
            numbers.append(math.ceil(GROWTH * numbers[-1]))
        return tuple(numbers)

    @property
    def last(self) -> int:
        return self.numbers[-1]

    def decide(self, samples: Sequence[np.ndarray], low: float, high: float, *, exact: bool) -> Decision:
        """The decision of the complete looks, from the sample of each; n and test are those of the last.

        A count that no seed changes is known, and needs no look.
        """
        decisions = [between(sample, low, high, exact=exact) for sample in samples]
        if not decisions or decisions[-1].test == COUNTED:
            return decisions[-1] if decisions else Decision(1.0, 1.0, NONE, 0)
        tested = [decision for decision in decisions if decision.test != COUNTED]
        p_holds, p_fails = (
            min(1.0, LOOKS * min(p)) for p in zip(*((d.p_holds, d.p_fails) for d in tested), strict=True)
        )
        return Decision(p_holds, p_fails, decisions[-1].test, decisions[-1].n)

    def chances(self, sample: np.ndarray, threshold: float, level: float) -> np.ndarray:
        """The probability with which the test of each look alone would reject at this level [LOOKS], if the truth is
        what the sample shows."""
        if len(sample) < 2:
            return np.full(LOOKS, UNKNOWN)
        return power(sample, threshold, level / LOOKS, np.array(self.numbers))

    def __str__(self) -> str:
        return f"alpha spending over looks at {', '.join(map(str, self.numbers))} seeds"


@dataclass(frozen=True)
class Need:
    """The seeds that an undecided claim needs.

    methods: those whose runs it needs. chances: by the number of seeds of each look that is left, the probability with
    which that look decides the claim, if the truth is what the seeds show.
    """

    methods: tuple[str, ...]
    chances: dict[int, float]

    def enough(self, chance: float) -> int | None:
        """The number of seeds of the first look with at least this chance; None if no look has it."""
        return next((number for number in sorted(self.chances) if self.chances[number] >= chance), None)
