"""Limits that follow the later part of the curves, and ticks of a log axis as readable numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

STEPS: tuple[tuple[float, ...], ...] = ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7))
"""The ticks of a decade of a log axis: the first of these with at least three ticks in view."""
MOST = 7  # ticks of a log axis
ENOUGH = 5
"""The number of points from which a curve has an early part that the limits may leave out: its first third."""
RATIO = 4.0
"""The limits leave values out if all values range over more than this times the range of those that stay in view."""


def limits(
    curves: Sequence[np.ndarray], levels: Sequence[float], away: Sequence[np.ndarray], *, log: bool
) -> tuple[float, float] | None:
    """The limits of the y-axis that show the later part of the curves; None if all values are to be in view.

    curves: the values of each mean, with its standard error on either side, as an array [any, points]. levels: values
    that stay in view. away: the values of curves that diverge, which may leave the axes. The hundredth of the later
    values that is farthest out may leave them too, but not the last values. A log axis shows the early part as well.
    """
    scaled, kept = [_scaled(values, log) for values in curves], _scaled(np.array(levels, dtype=float), log)
    every = _range([kept, *scaled])
    whole = _range([kept, *scaled, *(_scaled(values, log) for values in away)])
    late = _range([kept, *(_later(values) for values in scaled)])
    low, high = late if not log and _exceeds(every, late) else every
    if not _exceeds(whole, (low, high)):
        return None
    room = high - low
    low, high = max(whole[0], low - 0.3 * room), min(whole[1], high + 0.3 * room)
    pad = 0.05 * (high - low)
    low, high = low - pad, high + pad
    return (10.0**low, 10.0**high) if log else (float(low), float(high))


def number_ticks(axes: Axes, name: str) -> None:
    """Give the log axis `name` (x or y) ticks that are readable numbers: 50, 100, 200."""
    from matplotlib.ticker import NullFormatter

    axis: Any = getattr(axes, f"{name}axis")
    low, high = sorted(axis.get_view_interval())
    places = log_ticks(low, high)
    axis.set_ticks(places, labels=[tick_label(place) for place in places])
    axis.set_minor_formatter(NullFormatter())
    getattr(axes, f"set_{name}lim")(low, high)  # a tick at the edge does not move it


def log_ticks(low: float, high: float) -> list[float]:
    """The places of the ticks between two positive numbers."""
    decades = np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
    found: list[float] = []
    for steps in STEPS:
        found = [step * 10.0**decade for decade in decades for step in steps]
        found = [float(f"{place:.3g}") for place in found if low * (1 - 1e-9) <= place <= high * (1 + 1e-9)]
        if len(found) >= 3:
            return found[:: -(-len(found) // MOST)]
    from matplotlib.ticker import MaxNLocator

    return [float(place) for place in MaxNLocator(5).tick_values(low, high) if low <= place <= high]


def tick_label(value: float) -> str:
    """ "50", "0.001", and powers of ten beyond: "$10^{-6}$" or "$3\\times10^{-6}$"."""
    if 1e-3 <= abs(value) < 1e5 or value == 0:
        return f"{value:g}"
    digits, power = f"{value:.2e}".split("e")
    factor = f"{float(digits):g}"
    tens = f"10^{{{int(power)}}}"
    return f"${tens}$" if factor == "1" else f"${factor}\\times{tens}$"


def _exceeds(whole: tuple[float, float], kept: tuple[float, float]) -> bool:
    return 0 < (kept[1] - kept[0]) * RATIO < whole[1] - whole[0]


def _later(values: np.ndarray) -> np.ndarray:
    """The range of the later values [any, points] without the outermost hundredth, and the last values."""
    count = values.shape[1]
    later = values[:, count // 3 :] if count >= ENOUGH else values
    finite = later[np.isfinite(later)]
    return np.concatenate([np.quantile(finite, [0.01, 0.99]), values[:, -1]]) if len(finite) else finite


def _scaled(values: np.ndarray, log: bool) -> np.ndarray:
    values = np.atleast_2d(np.asarray(values, dtype=float))
    return np.log10(np.where(values > 0, values, np.nan)) if log else values


def _range(parts: Sequence[np.ndarray]) -> tuple[float, float]:
    values = np.concatenate([part.ravel() for part in parts])
    values = values[np.isfinite(values)]
    return (float(values.min()), float(values.max())) if len(values) else (0.0, 0.0)
