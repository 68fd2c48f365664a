"""A panel of a metric against one hyperparameter: a line for each method, with the standard error at each value."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from sobench.report.evidence import Evidence
from sobench.report.figures import axis, legend
from sobench.report.figures.style import Style, Styles, plain
from sobench.report.figures.tags import BAR, END, LINE, tag
from sobench.report.many_settings import tried
from sobench.report.schema.panels import Sensitivity
from sobench.results.trials import Trial, is_number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Points = dict[float, Trial]
"""By the value of the hyperparameter."""
CROSS: Style = {
    "marker": "x",
    "markersize": 7,
    "markeredgewidth": 1.8,
    "linestyle": "none",
    "clip_on": False,
    "zorder": 4,
}


def draw(axes: Axes, panel: Sensitivity, evidence: Evidence, styles: Styles) -> legend.Entries:
    """Draw every method of the panel; the entries of the legend.

    A value at which every configuration has a diverged seed is a cross on the frame, on the side of the worse values.
    """
    from matplotlib.lines import Line2D

    methods = list(panel.methods or evidence.report.methods)
    points = {method: best_by_value(evidence, panel, method) for method in methods}
    crosses: dict[str, list[float]] = {}
    for method, by_value in points.items():
        drawn = {x: trial.score for x, trial in by_value.items() if _drawable(trial, panel)}
        crosses[method] = [x for x, trial in by_value.items() if x not in drawn and trial.score.diverged]
        if drawn:
            errors = [0.0 if math.isnan(score.stderr) else score.stderr for score in drawn.values()]
            means = [score.mean for score in drawn.values()]
            look: Style = {"fmt": "none", "ecolor": styles[method]["color"], "gid": tag(BAR, method)}
            axes.errorbar([*drawn], means, errors, elinewidth=1, capsize=2, **look)
            axes.plot([*drawn], means, marker="o", markersize=4, gid=tag(LINE, method), **styles[method])
    _finish(axes, panel, evidence, methods, [x for by_value in points.values() for x in by_value])
    axes.set_ylim(*axes.get_ylim())  # a cross does not move it
    edge = (max if panel.better == "lower" else min)(axes.get_ylim())
    for method, xs in ((method, xs) for method, xs in crosses.items() if xs):
        axes.plot(xs, [edge] * len(xs), color=styles[method]["color"], gid=tag(END, method), **CROSS)
    if not axes.lines:
        legend.say_empty(axes)
    own: legend.Entries = {
        evidence.report.methods[method].label: Line2D([], [], **styles[method]) for method in methods
    }
    return legend.entries(evidence, methods, styles) or own


def best_by_value(evidence: Evidence, panel: Sensitivity, method: str) -> Points:
    """The best configuration at each value of the panel's setting that is a number, in ascending order.

    Configurations of which every run finished come before others.
    """
    by_value: dict[float, list[Trial]] = {}
    search = tried(evidence, panel, method)
    for trial in search.by_preference:
        value = trial.values[panel.x]
        if is_number(value) and (value > 0 or panel.x_scale == "linear"):
            by_value.setdefault(float(value), []).append(trial)
    return {value: by_value[value][0] for value in sorted(by_value)}


def _drawable(trial: Trial, panel: Sensitivity) -> bool:
    mean = trial.score.mean
    return math.isfinite(mean) and not trial.score.diverged and (mean > 0 or panel.scale == "linear")


def _finish(axes: Axes, panel: Sensitivity, evidence: Evidence, methods: list[str], xs: list[float]) -> None:
    axes.set_xlabel(plain(panel.x_label or panel.x.replace("_", " ")))
    axes.set_ylabel(plain(panel.label))
    axes.set_title(legend.title(evidence, panel, methods), loc="left")
    axes.set_yscale(panel.scale)
    axes.set_xscale(panel.x_scale)
    axes.margins(0.06)
    if not xs:
        return
    if len(set(xs)) > 1 and not axes.lines:
        axes.set_xlim(min(xs), max(xs))
    for name, scale in (("x", panel.x_scale), ("y", panel.scale)):
        if scale == "log" and axes.lines:
            axis.number_ticks(axes, name)
