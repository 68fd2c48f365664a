"""A panel of trajectories: two weights during training, for each method, over the contours of the training loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from sobench.report.evidence import Evidence
from sobench.report.figures import legend
from sobench.report.figures.style import Style, Styles, plain
from sobench.report.figures.tags import END, LINE, tag
from sobench.report.schema.panels import Trajectory

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LONG = 4.0
"""The length from which a trajectory is drawn pale, in units of the panel's sides: it would cover the others."""


def draw(axes: Axes, panel: Trajectory, evidence: Evidence, styles: Styles) -> legend.Entries:
    """Draw the landscape and the trajectories; the entries of the legend."""
    methods = panel.methods or list(evidence.report.methods)
    seed = _seed(evidence, methods, panel)
    found = {method: evidence.path(method, panel, seed) for method in methods} if seed is not None else {}
    paths = {method: path.points for method, path in found.items() if path}
    if not paths:
        legend.say_empty(axes)
    else:
        first = next(path for path in found.values() if path)
        us, vs = _landscape(axes, panel, first.landscape)
        low, high = np.array([us[0], vs[0]]), np.array([us[-1], vs[-1]])
        start = first.points[0]
        axes.plot(*start, marker="^", markersize=10, color="white", markeredgecolor="black", zorder=2.5)
        for place, method in enumerate(sorted(paths, key=lambda method: -length_inside(paths[method], low, high))):
            color, long = styles[method]["color"], length_inside(paths[method], low, high) > LONG
            faint = {"alpha": 0.45, "linewidth": 0.8} if long else {}
            axes.plot(*paths[method].T, zorder=3 + place / 100, gid=tag(LINE, method), **{**styles[method], **faint})
            end: Style = {"marker": "x", "markersize": 7, "markeredgewidth": 2, "clip_on": False}
            end["gid"] = tag(END, method)
            axes.plot(*np.clip(paths[method][-1], low, high), color=color, zorder=4, **end)
        axes.set(xlim=(us[0], us[-1]), ylim=(vs[0], vs[-1]))
    axes.set(xlabel=plain(panel.x_label), ylabel=plain(panel.y_label))
    axes.set_title(legend.title(evidence, panel, methods), loc="left")
    axes.grid(False)
    return legend.entries(evidence, methods, styles)


def length_inside(path: np.ndarray, low: np.ndarray, high: np.ndarray) -> float:
    """The length of the path [points, 2] inside the rectangle, in units of its sides."""
    inside = (np.clip(path, low, high) - low) / (high - low)
    return float(np.hypot(*np.diff(inside, axis=0).T).sum())


def _seed(evidence: Evidence, methods: list[str], panel: Trajectory) -> int | None:
    """The first seed that is finished with every method that has finished runs; None if there is none."""
    finished = []
    for method in methods:
        runs = evidence.runs(method, panel.where)
        seeds = {run.seed for run in runs if evidence.results.states[run.id].status == "done"}
        if seeds:
            finished.append(seeds)
    return min(set.intersection(*finished), default=None) if finished else None


def landscape(losses: Mapping[tuple[float, float], float]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The landscape around the start as a grid: us [n], vs [m], losses [m, n]."""
    us, vs = (np.unique([place[axis] for place in losses]) for axis in (0, 1))
    return us, vs, np.array([[losses[u, v] for u in us] for v in vs])


def _landscape(
    axes: Axes, panel: Trajectory, places: Mapping[tuple[float, float], float]
) -> tuple[np.ndarray, np.ndarray]:
    """Draw the landscape; its places on both axes."""
    us, vs, losses = landscape(places)
    lowest = np.unravel_index(np.argmin(losses), losses.shape)
    ring = {"marker": "o", "markersize": 9, "markeredgecolor": "white", "markeredgewidth": 1.4}
    axes.plot(us[lowest[1]], vs[lowest[0]], markerfacecolor="none", zorder=3.9, **ring)
    filled = axes.contourf(us, vs, losses, levels=panel.levels, cmap="Greys_r", alpha=0.75)
    axes.contour(us, vs, losses, levels=panel.levels, colors="black", linewidths=0.3)
    bar = axes.figure.colorbar(filled, ax=axes, label=plain(panel.label))
    bar.minorticks_off()
    return us, vs
