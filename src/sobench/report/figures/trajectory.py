"""A panel of trajectories: two weights during training, for each method, over the contours of the training loss."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from sobench.report.evidence import Evidence
from sobench.report.figures import legend
from sobench.report.figures.overlap import LINE
from sobench.report.figures.style import Styles, plain
from sobench.report.schema.panels import Trajectory

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LONG = 4.0
"""The length from which a trajectory is drawn pale, in units of the panel's sides: it would cover the others."""
LANDSCAPE = "landscape/"


def draw(axes: Axes, panel: Trajectory, evidence: Evidence, styles: Styles) -> legend.Entries:
    """Draw the landscape and the trajectories; the entries of the legend."""
    methods = panel.methods or list(evidence.report.methods)
    seed = _seed(evidence, methods, panel)
    all_rows = {method: _rows(evidence, method, panel, seed) for method in methods}
    with_rows = {method: rows for method, rows in all_rows.items() if len(rows)}
    if not with_rows:
        legend.say_empty(axes)
    else:
        first = next(iter(with_rows.values()))
        start = first[["start/0", "start/1"]].dropna().iloc[0].to_numpy()
        us, vs = _landscape(axes, panel, first)
        paths = {
            method: np.vstack([start, rows[["weight/0", "weight/1"]].to_numpy()]) for method, rows in with_rows.items()
        }
        low, high = np.array([us[0], vs[0]]), np.array([us[-1], vs[-1]])
        axes.plot(*start, marker="^", markersize=10, color="white", markeredgecolor="black", zorder=2.5)
        for place, method in enumerate(sorted(paths, key=lambda method: -length_inside(paths[method], low, high))):
            color, long = styles[method]["color"], length_inside(paths[method], low, high) > LONG
            faint = {"alpha": 0.45, "linewidth": 0.8} if long else {}
            axes.plot(*paths[method].T, zorder=3 + place / 100, gid=LINE, **{**styles[method], **faint})
            end = {"marker": "x", "markersize": 7, "markeredgewidth": 2, "clip_on": False}
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


def _rows(evidence: Evidence, method: str, panel: Trajectory, seed: int | None) -> pd.DataFrame:
    """The rows of a method's run of this seed."""
    rows = evidence.rows(method, panel, "train", "done").frame()
    return rows.loc[rows["seed"] == seed]


def landscape(rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The landscape that a run recorded around its start: us [n], vs [m], losses [m, n]."""
    values = {}
    for name, column in rows.items():
        text = str(name)
        if text.startswith(LANDSCAPE) and column.notna().any():
            u, v = text.removeprefix(LANDSCAPE).split("/")
            values[float(u), float(v)] = column.dropna().iloc[0]
    us, vs = (np.unique([place[axis] for place in values]) for axis in (0, 1))
    return us, vs, np.array([[values[u, v] for u in us] for v in vs])


def _landscape(axes: Axes, panel: Trajectory, rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Draw the landscape; its places on both axes."""
    us, vs, losses = landscape(rows)
    lowest = np.unravel_index(np.argmin(losses), losses.shape)
    ring = {"marker": "o", "markersize": 9, "markeredgecolor": "white", "markeredgewidth": 1.4}
    axes.plot(us[lowest[1]], vs[lowest[0]], markerfacecolor="none", zorder=3.9, **ring)
    filled = axes.contourf(us, vs, losses, levels=panel.levels, cmap="Greys_r", alpha=0.75)
    axes.contour(us, vs, losses, levels=panel.levels, colors="black", linewidths=0.3)
    bar = axes.figure.colorbar(filled, ax=axes, label=plain(panel.label))
    bar.minorticks_off()
    return us, vs
