"""A panel of curves: the mean (solid), its standard error (shaded), and the published values (dotted)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sobench.report.evidence import Evidence
from sobench.report.figures import axis, legend
from sobench.report.figures.style import Style, Styles, plain
from sobench.report.figures.tags import BAND, DIVERGED, END, LINE, PUBLISHED, tag
from sobench.report.schema.panels import Panel
from sobench.results.axes import AXES
from sobench.results.curves import mean
from sobench.results.state import CONTENDED, SHARED

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

FEW = 8  # points, up to which each has a dot
MARGIN = 0.02  # of the x-axis


def draw(axes: Axes, panel: Panel, evidence: Evidence, styles: Styles) -> legend.Entries:
    """Draw every method of the panel; its entries of the legend.

    The mean is over the runs that finished; the legend gives the gaps. A method of which no run finished is drawn from
    the runs that diverged, thin and dashed, up to a cross where the first of them ended.
    """
    methods = list(panel.methods or evidence.report.methods)
    means = {method: mean_of(evidence, method, panel, "done") for method in methods}
    diverged = {method: mean_of(evidence, method, panel, "diverged") for method in methods if not len(means[method])}
    for method in methods:
        if evidence.numbers.kept:
            evidence.ends(method, panel)
        style, label = styles[method], evidence.report.methods[method].label
        if len(mean := means[method]):
            marker = "o" if len(mean) <= FEW else None
            own = tag(LINE, method)
            axes.plot(mean["x"], mean["mean"], label=label, marker=marker, markersize=3.5, gid=own, **style)
            _shade(axes, mean, panel, style, tag(BAND, method))
        elif len(diverged[method]):
            dashed: Style = {**style, "linestyle": "--", "linewidth": 1.1}
            points = diverged[method]
            axes.plot(points["x"], points["mean"], label=label, gid=tag(DIVERGED, method), **dashed)
        _published(axes, panel, method, style)
    _finish(axes, panel, evidence, methods)
    _limit(axes, panel, means, diverged)
    for method, points in diverged.items():
        _cross(axes, points, styles[method], tag(END, method))
    if not any(legend.drawable(evidence, method, panel) for method in methods):
        states = [evidence.states(panel)[run.id].status for m in methods for run in evidence.runs(m, panel.where)]
        legend.say_empty(axes, disturbed=not {SHARED, CONTENDED}.isdisjoint(states))
        axes.tick_params(which="both", bottom=False, left=False, labelbottom=False, labelleft=False)
    return legend.entries(evidence, methods, styles)


def mean_of(evidence: Evidence, method: str, panel: Panel, status: str) -> pd.DataFrame:
    """The points of the mean over the runs of a method that have this status, as far as the axes can show them."""
    points = mean(evidence.curves(method, panel, status), hold=status == "done")
    keep = np.ones(len(points), bool)
    if panel.scale == "log":
        keep &= points["mean"].to_numpy() > 0
    if panel.x_scale == "log":
        keep &= points["x"].to_numpy() > 0
    return points.loc[keep]


def _shade(axes: Axes, mean: pd.DataFrame, panel: Panel, style: Style, gid: str) -> None:
    if np.isnan(mean["stderr"].to_numpy()).all():
        return
    low, _, high = _band(mean, log=panel.scale == "log")
    axes.fill_between(mean["x"].to_numpy(), low, high, color=style["color"], alpha=0.22, linewidth=0, gid=gid)


def _published(axes: Axes, panel: Panel, method: str, style: Style) -> None:
    published = panel.published.get(method)
    dotted: Style = {"color": style["color"], "linestyle": (0, (1, 1.5)), "linewidth": 1.2}
    dotted["gid"] = tag(PUBLISHED, method)
    if isinstance(published, list):
        axes.plot(*np.transpose(published), **dotted)
    elif published is not None:
        axes.axhline(published, **dotted)


def _finish(axes: Axes, panel: Panel, evidence: Evidence, methods: list[str]) -> None:
    axes.set_xlabel(plain(panel.x_label or AXES[panel.x]) + _left_out(panel, evidence, methods))
    smooth = f"\n(mean of the last {panel.smooth:g} steps)" if panel.smooth else ""
    axes.set_ylabel(plain(panel.label) + (f"\n(mean of each {panel.mean_by})" if panel.mean_by else smooth))
    axes.set_title(legend.title(evidence, panel, methods), loc="left")
    axes.set_yscale(panel.scale)
    axes.set_xscale(panel.x_scale)
    axes.margins(x=MARGIN)


def _limit(axes: Axes, panel: Panel, means: dict[str, pd.DataFrame], diverged: dict[str, pd.DataFrame]) -> None:
    """Set the limits of the axes, and the ticks of log axes. The label says where the curves begin outside of them."""
    xs = [points["x"].to_numpy() for points in (*means.values(), *diverged.values()) if len(points)]
    if xs and any(isinstance(points, list) for points in panel.published.values()):  # the paper's may go on for longer
        axes.set_xlim(*_widened(min(x.min() for x in xs), max(x.max() for x in xs), log=panel.x_scale == "log"))
    log = panel.scale == "log"
    bands = [_band(points, log=log) for points in means.values() if len(points)]
    levels = [level for level in panel.published.values() if not isinstance(level, list)]
    away = [points["mean"].to_numpy() for points in diverged.values()]
    if panel.limits:
        axes.set_ylim(*panel.limits)
    elif limits := axis.limits(bands, levels, away, log=log):
        axes.set_ylim(*limits)
        _say_first(axes, [points for points in means.values() if len(points)], *limits)
    for name, scale in (("x", panel.x_scale), ("y", panel.scale)):
        if scale == "log" and xs:
            axis.number_ticks(axes, name)


def _say_first(axes: Axes, means: list[pd.DataFrame], low: float, high: float) -> None:
    """If curves begin outside of the limits, write it below the axis; a log axis begins where the first enters."""
    firsts = [float(points["mean"].to_numpy()[0]) for points in means]
    outside = [first for first in firsts if not low <= first <= high]
    if not outside:
        return
    where, farthest = ("above", max(outside)) if outside[0] > high else ("below", min(outside))
    note = f"(begins {where} the axes, at {axis.tick_label(float(f'{farthest:.2g}'))})"
    axes.set_xlabel(f"{axes.get_xlabel()}\n{note}")
    if axes.get_xscale() == "log":
        values = [(points["x"].to_numpy(), points["mean"].to_numpy()) for points in means]
        seen = np.concatenate([x[(low <= mean) & (mean <= high)] for x, mean in values])
        axes.set_xlim(*_widened(seen.min(), max(x.max() for x, _ in values), log=True))


def _band(points: pd.DataFrame, *, log: bool) -> np.ndarray:
    """The mean and the edges of its band [3, points]. On a log axis a band that reaches zero has no lower end."""
    middle, error = points["mean"].to_numpy(), points["stderr"].fillna(0.0).to_numpy()
    low = np.maximum(middle - error, middle / 10) if log else middle - error
    return np.stack([low, middle, middle + error])


def _widened(low: float, high: float, *, log: bool) -> tuple[float, float]:
    """The range with the margin of the x-axis."""
    if log:
        pad = (high / low) ** MARGIN
        return low / pad, high * pad
    pad = MARGIN * ((high - low) or 1.0)
    return low - pad, high + pad


def _cross(axes: Axes, points: pd.DataFrame, style: Style, gid: str) -> None:
    """Mark the end of a diverged method, on the frame if it lies beyond."""
    if not len(points):
        return
    last, (low, high) = points.iloc[-1], sorted(axes.get_ylim())
    end = {"marker": "x", "markersize": 7, "markeredgewidth": 1.8, "clip_on": False, "zorder": 4, "gid": gid}
    axes.plot([last["x"]], [min(max(last["mean"], low), high)], **end, **style)


def _left_out(panel: Panel, evidence: Evidence, methods: list[str]) -> str:
    """The number of undefined values in the means of the epochs, for the label; empty if there are none."""
    if not panel.mean_by:
        return ""
    bad, of = map(sum, zip(*(evidence.undefined(method, panel) for method in methods), strict=True))
    return f"\n({bad:,} of {of:,} values undefined, left out)" if bad else ""
