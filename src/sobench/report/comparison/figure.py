"""The figure of a comparison: the performance profiles on each axis, with their simultaneous bands."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sobench.report.comparison.analysis import OnAxis
from sobench.report.comparison.profiles import WIDEST
from sobench.report.comparison.study import Study
from sobench.report.figures import legend, tags
from sobench.report.figures.style import DASHES, PALETTE, RC, plain
from sobench.report.schema.panels import AnyPanel, Panel
from sobench.results.axes import AXES

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHARE = "share of problems and seeds"
TICKS = (1, 1.5, 2, 3, WIDEST)


@dataclass(frozen=True)
class Drawn:
    """The sheet, its axes each with what they show, and the line of each method."""

    sheet: Figure
    panels: list[tuple[AnyPanel, Axes]]
    entries: dict[str, Artist]


def drawn(study: Study, numbers: dict[str, OnAxis]) -> Drawn:
    """Draw the profiles on every axis, and leave matplotlib's backend as it is."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(RC):
        sheet = Figure(figsize=(3.7 * len(study.axes), 3.0), layout="constrained", dpi=RC["savefig.dpi"])
        panels: list[tuple[AnyPanel, Axes]] = []
        entries: dict[str, Artist] = {}
        for axes, axis in zip(sheet.subplots(1, len(study.axes), squeeze=False)[0], study.axes, strict=True):
            entries = _panel(axes, study, numbers[axis])
            name = AXES[axis].partition(" (")[0]
            axes.set(xlabel=f"times the least {name}", ylabel=SHARE)
            axes.set_title(name, loc="left")
            panels.append((Panel(axis, "profile", SHARE), axes))
        legend.below(sheet, list(entries.values()), list(map(plain, entries)))
        layout: Any = sheet.get_layout_engine()
        layout.execute(sheet)
        sheet.set_layout_engine(None)
    return Drawn(sheet, panels, entries)


def _panel(axes: Axes, study: Study, numbers: OnAxis) -> dict[str, Artist]:
    """Draw one axis; the line of each method."""
    from matplotlib.ticker import NullLocator

    profiles, lines = numbers.profiles, {}
    for place, method in enumerate(study.methods):
        style: dict[str, Any] = {
            "color": PALETTE[place % len(PALETTE)],
            "linestyle": DASHES[place // len(PALETTE) % len(DASHES)],
        }
        shares, width = profiles.shares[place], profiles.width[place]
        tag = tags.tag(tags.LINE, method)
        (lines[method],) = axes.plot(*_steps(profiles.factors, shares), gid=tag, **style)
        if not math.isnan(width):
            low, high = (np.clip(shares + sign * width, 0, 1) for sign in (-1, 1))
            look: dict[str, Any] = {"color": style["color"], "alpha": 0.08, "linewidth": 0}
            x, low = _steps(profiles.factors, low)
            axes.fill_between(x, low, _steps(profiles.factors, high)[1], gid=tags.tag(tags.BAND, method), **look)
    axes.set_xscale("log")
    axes.set(xlim=(1, WIDEST), ylim=(-0.02, 1.02))
    axes.set_xticks(TICKS, labels=[f"{tick:g}" for tick in TICKS])
    axes.xaxis.set_minor_locator(NullLocator())
    return lines


def _steps(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The corners of a function that keeps each value up to the next place."""
    return np.repeat(x, 2)[1:], np.repeat(y, 2)[:-1]
