"""Holm's method over the claims of one report: the chance that any of its verdicts is wrong stays below ALPHA.

A claim can be answered wrongly in two ways. Each way is a family of hypotheses: "the claim is false", of which the
rejection is `holds`, and "the claim is true", of which the rejection is `fails`. Holm's method (S. Holm, A simple
sequentially rejective multiple test procedure, Scandinavian Journal of Statistics 6, 1979, 65-70) keeps the chance of
any wrong rejection in a family below its level, however the claims depend on each other; they share runs. Each family
has half of ALPHA, so that an adjusted p value is twice Holm's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

ALPHA = 0.05
WAYS = 2
"""The ways in which a claim can be answered wrongly."""


@dataclass(frozen=True)
class Adjusted:
    """The adjusted p values of one claim, and the levels at which a raw p value would decide it, all else unchanged."""

    p_holds: float
    p_fails: float
    level_holds: float
    level_fails: float


def adjust(p_values: list[tuple[float, float]]) -> list[Adjusted]:
    """The adjusted p values of the claims of one report, from their raw (p_holds, p_fails)."""
    if not p_values:
        return []
    holds, fails = (_family(np.array(family)) for family in zip(*p_values, strict=True))
    return [Adjusted(h, f, lh, lf) for (h, lh), (f, lf) in zip(holds, fails, strict=True)]


def alone(p_holds: float, p_fails: float) -> Adjusted:
    """The p values of a claim that is in no family, unchanged."""
    return Adjusted(p_holds, p_fails, ALPHA, ALPHA)


def holm(p: np.ndarray) -> np.ndarray:
    """The adjusted p values of one family of hypotheses, in their order."""
    order = np.argsort(p, kind="stable")
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(np.arange(len(p), 0, -1) * p[order]))
    return adjusted


def _family(p: np.ndarray) -> list[tuple[float, float]]:
    """The adjusted p value of each hypothesis, and the level that it still has to meet."""
    adjusted = np.minimum(1.0, WAYS * holm(p))
    open_ones = max(1, int((adjusted >= ALPHA).sum()))
    return [(float(value), ALPHA / (WAYS * open_ones)) for value in adjusted]
