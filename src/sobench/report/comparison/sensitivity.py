"""How much the learning rate matters: the range of rates that come close to the best one, from the tuning trials."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

CLOSE = 1.5
"""A learning rate is close if its best loss is at most so many times the best of all."""
RATE = "optimizer.lr"


@dataclass(frozen=True)
class Range:
    """The learning rates around the best one that are close to it. open: whether it ends at an end of the grid."""

    low: float
    high: float
    tried: int
    open: bool

    def __str__(self) -> str:
        """ "0.01 to 0.1 (10 x)" """
        width = self.high / self.low
        return f"{self.low:g} to {self.high:g} ({'at least ' if self.open else ''}{width:.3g} x of {self.tried} rates)"


def close_range(trials: Sequence[Mapping[str, Any]], better: str) -> Range | None:
    """The range of close learning rates; None with fewer than three different rates, or no finished trial.

    trials: the settings of each, and its `score`, NaN where it did not finish. Each rate counts with the best score
    over the other settings. An accuracy is taken as an error, 1 - accuracy.
    """
    by_rate: dict[float, float] = {}
    for trial in trials:
        rate, score = trial.get(RATE), trial.get("score")
        if isinstance(rate, (int, float)) and rate > 0:
            loss = math.inf if score is None or math.isnan(score) else score if better == "lower" else 1 - score
            by_rate[float(rate)] = min(loss, by_rate.get(float(rate), math.inf))
    rates = sorted(by_rate)
    best = min(by_rate.values(), default=math.inf)
    if len(rates) < 3 or not math.isfinite(best):
        return None
    limit = best + (CLOSE - 1) * abs(best)
    middle = next(place for place, rate in enumerate(rates) if by_rate[rate] == best)
    first = last = middle
    while first > 0 and by_rate[rates[first - 1]] <= limit:
        first -= 1
    while last < len(rates) - 1 and by_rate[rates[last + 1]] <= limit:
        last += 1
    return Range(rates[first], rates[last], len(rates), first == 0 or last == len(rates) - 1)
