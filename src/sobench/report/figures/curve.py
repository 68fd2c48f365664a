"""A panel of curves: the mean (solid), its standard error (shaded), and the published values (dotted)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sobench.report.evidence import Evidence
from sobench.report.figures import legend
from sobench.report.figures.style import Style, Styles, plain
from sobench.report.schema.panels import Panel
from sobench.results.axes import AXES
from sobench.results.curves import curve, without_value

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


def draw(axes: Axes, panel: Panel, evidence: Evidence, styles: Styles) -> legend.Entries:
    """Draw every method of the panel; its entries of the legend.

    The mean is over the runs that finished; the legend gives the gaps. A method of which no run finished is drawn from
    the runs that diverged, thin and dashed, up to a cross where the first of them ended.
    """
    methods = list(panel.methods or evidence.report.methods)
    for method in methods:
        style, label = styles[method], evidence.report.methods[method].label
        mean = _mean(evidence, method, panel, "done")
        diverged = _mean(evidence, method, panel, "diverged") if not len(mean) else mean[:0]
        if len(mean):
            marker = "o" if len(mean) <= 8 else None
            axes.plot(mean["x"], mean["mean"], label=label, marker=marker, markersize=3.5, **style)
            _shade(axes, mean, panel, style)
        elif len(diverged):
            dashed: Style = {**style, "linestyle": "--", "linewidth": 1.1}
            axes.plot(diverged["x"], diverged["mean"], label=label, **dashed)
            last = diverged.iloc[-1:]
            axes.plot(last["x"], last["mean"], marker="x", markersize=7, markeredgewidth=1.8, **style)
        _published(axes, panel, method, style)
    _finish(axes, panel, evidence, methods)
    if not any(legend.drawable(evidence, method, panel) for method in methods):
        legend.say_empty(axes)
        axes.tick_params(which="both", bottom=False, left=False, labelbottom=False, labelleft=False)
    return legend.entries(evidence, methods, styles)


def _y(panel: Panel, method: str) -> str:
    return panel.y.replace("{method}", method)


def _mean(evidence: Evidence, method: str, panel: Panel, status: str) -> pd.DataFrame:
    rows = evidence.rows(method, panel, panel.rows, status)
    points = curve(
        rows,
        panel.x,
        _y(panel, method),
        smooth=panel.smooth,
        by_epoch=panel.mean_by == "epoch",
        hold=status == "done",
    )
    keep = np.ones(len(points), bool)
    if panel.scale == "log":
        keep &= points["mean"].to_numpy() > 0
    if panel.x_scale == "log":
        keep &= points["x"].to_numpy() > 0
    return points.loc[keep]


def _shade(axes: Axes, mean: pd.DataFrame, panel: Panel, style: Style) -> None:
    x, middle, error = (mean[name].to_numpy() for name in ("x", "mean", "stderr"))
    if np.isnan(error).all():
        return
    low, high = middle - error, middle + error
    if panel.scale == "log":  # a band that reaches zero has no lower end
        low = np.maximum(low, middle / 10)
    axes.fill_between(x, low, high, color=style["color"], alpha=0.22, linewidth=0)


def _published(axes: Axes, panel: Panel, method: str, style: Style) -> None:
    published = panel.published.get(method)
    dotted: Style = {"color": style["color"], "linestyle": (0, (1, 1.5)), "linewidth": 1.2}
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
    if panel.limits:
        axes.set_ylim(*panel.limits)
    axes.margins(x=0.02)


def _left_out(panel: Panel, evidence: Evidence, methods: list[str]) -> str:
    """The number of undefined values in the means of the epochs, for the label; empty if there are none."""
    if not panel.mean_by:
        return ""
    rows = {method: evidence.rows(method, panel, panel.rows, "done") for method in methods}
    bad, of = sum(without_value(rows[m], _y(panel, m)) for m in methods), sum(map(len, rows.values()))
    return f"\n({bad:,} of {of:,} values undefined, left out)" if bad else ""
