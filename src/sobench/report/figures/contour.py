"""A panel of contours: a metric of one method over two settings, from the runs of a grid.

Between the settings that were tried, the metric is interpolated linearly in the logarithms of the settings. A setting
with a diverged seed, or without a value, is left out of the contours: the cells of the grid around it stay blank.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from sobench.report.evidence import Evidence
from sobench.report.figures import legend
from sobench.report.figures.style import Style, Styles, plain
from sobench.report.figures.tags import END, tag
from sobench.report.many_settings import grid
from sobench.report.schema.panels import Contour
from sobench.results.aggregate import Aggregate

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Points = dict[tuple[float, ...], Aggregate]
"""By the values of the two settings."""
MARKS: dict[str, Style] = {
    "tried": {"marker": "o", "color": "black", "markersize": 3},
    "not every seed is finished": {"marker": "o", "color": "black", "markersize": 5.5, "markerfacecolor": "none"},
    "diverged": {"marker": "x", "color": "#B00000", "markersize": 6, "markeredgewidth": 1.6},
    "best": {"marker": "*", "color": "white", "markersize": 13, "markeredgecolor": "black"},
}
"""The marker of each kind of grid point, by its text in the legend."""


def draw(axes: Axes, panel: Contour, evidence: Evidence, styles: Styles) -> legend.Entries:
    """Draw the contours and the points of the grid; the entries of the legend."""
    points = grid(evidence, panel, panel.metric, panel.method, (panel.x, panel.y))
    values: dict[tuple[float, ...], float] = {}
    for place, aggregate in points.items():
        if math.isfinite(aggregate.mean) and not aggregate.diverged:
            values[place] = aggregate.mean
    if values:
        _fill(axes, panel, values)
    marked = _marks(points, values, panel)
    for kind, places in marked.items():
        look: Style = {"linestyle": "none", "clip_on": False, "zorder": 4, "gid": tag(END, kind), **MARKS[kind]}
        axes.plot(*np.log10(places).T, **look)
    _finish(axes, panel, evidence, points)
    if not values:
        legend.say_empty(axes)
    return _entries(marked)


def _fill(axes: Axes, panel: Contour, values: dict[tuple[float, ...], float]) -> None:
    """Draw filled contours, which need two rows and two columns of the grid; else dots of the same colours."""
    from matplotlib.colors import LogNorm, Normalize

    xs, ys = (np.unique([place[axis] for place in values]) for axis in (0, 1))
    field = np.ma.masked_invalid([[values.get((x, y), math.nan) for x in xs] for y in ys])
    low, high = float(field.min()), float(field.max())
    log = panel.scale == "log" and low > 0
    high = high if high > low else low + max(abs(low), 1.0) * 1e-3  # one value everywhere: one colour
    levels = (np.geomspace if log else np.linspace)(low, high, panel.levels + 1)
    look: dict[str, Any] = {
        "norm": (LogNorm if log else Normalize)(low, high),
        "cmap": "viridis" if panel.better == "lower" else "viridis_r",
    }
    if min(field.shape) > 1:
        levels[0], levels[-1] = min(levels[0], low), max(levels[-1], high)
        filled = axes.contourf(np.log10(xs), np.log10(ys), field, levels=levels, **look)
        axes.contour(np.log10(xs), np.log10(ys), field, levels=levels, colors="black", linewidths=0.3)
    else:
        places = np.log10(list(values))
        filled = axes.scatter(*places.T, c=list(values.values()), s=120, **look)
    ticks = levels[:: max(1, panel.levels // 4)].tolist()
    bar = axes.figure.colorbar(filled, ax=axes, label=plain(panel.label))
    bar.set_ticks(ticks, labels=[f"{tick:.3g}" for tick in ticks])
    bar.minorticks_off()


def _marks(
    points: Points, values: dict[tuple[float, ...], float], panel: Contour
) -> dict[str, list[tuple[float, ...]]]:
    """The places of each kind of point; kinds without a point are left out."""
    marks: dict[str, list[tuple[float, ...]]] = {kind: [] for kind in MARKS}
    for place, aggregate in points.items():
        if aggregate.diverged:
            marks["diverged"].append(place)
        elif aggregate.found == aggregate.expected:
            marks["tried"].append(place)
        else:
            marks["not every seed is finished"].append(place)
    if values:
        best = min if panel.better == "lower" else max
        marks["best"] = [best(values, key=lambda place: values[place])]
    return {kind: places for kind, places in marks.items() if places}


def _finish(axes: Axes, panel: Contour, evidence: Evidence, points: Points) -> None:
    axes.set_xlabel(plain(panel.x_label))
    axes.set_ylabel(plain(panel.y_label))
    axes.set_title(legend.title(evidence, panel, panel.methods), loc="left")
    axes.grid(False)
    axes.margins(0.06)
    xs, ys = (sorted({place[axis] for place in points}) for axis in (0, 1))
    axes.set_xticks(np.log10(xs), labels=[_short(x) for x in xs], rotation=45 if len(xs) > 6 else 0)
    axes.set_yticks(np.log10(ys), labels=[_short(y) for y in ys])


def _entries(marked: dict[str, list[tuple[float, ...]]]) -> legend.Entries:
    from matplotlib.lines import Line2D

    return {kind: Line2D([], [], linestyle="none", **MARKS[kind]) for kind in marked}


def _short(value: float) -> str:
    """ "0.3", "3e-4" """
    return f"{value:g}" if 1e-2 <= value < 1e4 else f"{value:.0e}".replace("e-0", "e-").replace("e+0", "e")
