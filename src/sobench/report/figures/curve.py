"""A panel of curves: solid mean, shaded standard error, and beside them what the paper published."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sobench.report.evidence import Evidence
from sobench.report.figures import legend
from sobench.report.schema.panels import Panel
from sobench.results.axes import AXES
from sobench.results.curves import curve, without_value

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

Styles = dict[str, dict[str, object]]


def draw(axes: Axes, panel: Panel, evidence: Evidence, styles: Styles) -> legend.Entries:
    """Draw every method of the panel; its entries of the figure's legend.

    The mean is over the runs that finished; the legend says how many, if not all did. A method of which none finished
    is drawn from the runs that diverged, thin and dashed, up to where the first of them ended, marked by a cross.
    """
    methods = list(panel.methods or evidence.report.methods)
    for method in methods:
        mean, style, label = (
            _mean(evidence, method, panel, "done"),
            styles[method],
            evidence.report.methods[method].label,
        )
        if len(mean):
            axes.plot(
                mean["x"], mean["mean"], label=label, marker="o" if len(mean) <= 8 else None, markersize=3.5, **style
            )
            _shade(axes, mean, panel, style)
        elif len(mean := _mean(evidence, method, panel, "diverged")):
            axes.plot(mean["x"], mean["mean"], label=label, **{**style, "linestyle": "--", "linewidth": 1.1})
            last = mean.iloc[-1:]
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
    found = curve(rows, panel.x, _y(panel, method), smooth=panel.smooth, by_epoch=panel.mean_by == "epoch")
    keep = np.ones(len(found), bool)
    if panel.scale == "log":
        keep &= found["mean"].to_numpy() > 0
    if panel.x_scale == "log":
        keep &= found["x"].to_numpy() > 0
    return found[keep]


def _shade(axes: Axes, mean: pd.DataFrame, panel: Panel, style: dict[str, object]) -> None:
    x, middle, error = (mean[name].to_numpy() for name in ("x", "mean", "stderr"))
    if np.isnan(error).all():
        return
    low, high = middle - error, middle + error
    if panel.scale == "log":  # a band that reaches zero would have no end
        low = np.maximum(low, middle / 10)
    axes.fill_between(x, low, high, color=style["color"], alpha=0.22, linewidth=0)


def _published(axes: Axes, panel: Panel, method: str, style: dict[str, object]) -> None:
    published = panel.published.get(method)
    dotted = {"color": style["color"], "linestyle": (0, (1, 1.5)), "linewidth": 1.2}
    if isinstance(published, list):
        axes.plot(*np.transpose(published), **dotted)
    elif published is not None:
        axes.axhline(published, **dotted)


def _finish(axes: Axes, panel: Panel, evidence: Evidence, methods: list[str]) -> None:
    axes.set_xlabel((panel.x_label or AXES[panel.x]) + _left_out(panel, evidence, methods))
    smooth = f"\n(mean of the last {panel.smooth:g} steps)" if panel.smooth else ""
    axes.set_ylabel(panel.label + (f"\n(mean of each {panel.mean_by})" if panel.mean_by else smooth))
    axes.set_title(legend.title(evidence, panel, methods), loc="left")
    axes.set_yscale(panel.scale)
    axes.set_xscale(panel.x_scale)
    if panel.limits:
        axes.set_ylim(*panel.limits)
    axes.margins(x=0.02)


def _left_out(panel: Panel, evidence: Evidence, methods: list[str]) -> str:
    """How many of the values that the means of the epochs are of are not there."""
    if not panel.mean_by:
        return ""
    rows = {method: evidence.rows(method, panel, panel.rows, "done") for method in methods}
    bad, of = sum(without_value(rows[m], _y(panel, m)) for m in methods), sum(map(len, rows.values()))
    return f"\n({bad:,} of {of:,} values undefined, left out)" if bad else ""
