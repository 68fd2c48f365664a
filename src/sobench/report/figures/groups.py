"""Panels about groups of parameters, as `instrument=summary` records them: a matrix of interactions, and a profile by
epochs.

Both show one run, that of the first finished seed: signs and sizes differ between seeds, and a mean would hide both.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from sobench.report.evidence import Evidence
from sobench.report.figures import axis, legend
from sobench.report.figures.style import Style, Styles, plain
from sobench.report.figures.tags import LINE, tag
from sobench.report.schema.panels import Heatmap, Profile

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FLOOR = 1e-3
"""The colour is logarithmic in the size of a value, down to this share of the largest, and linear below."""


def heatmap(axes: Axes, panel: Heatmap, evidence: Evidence, styles: Styles) -> legend.Entries:
    """Draw the matrix, which has no entry in the legend."""
    from matplotlib.colors import SymLogNorm

    values = matrix(evidence, panel)
    if np.isnan(values).all():
        legend.say_empty(axes)
    else:
        top = np.nanmax(np.abs(values)) or 1.0
        norm = SymLogNorm(linthresh=FLOOR * top, vmin=-top, vmax=top)
        bar = axes.figure.colorbar(axes.imshow(values, cmap="RdBu_r", norm=norm), ax=axes)
        ticks = colour_ticks(top)
        bar.set_ticks(ticks, labels=[axis.tick_label(tick) for tick in ticks])
        bar.minorticks_off()
    axes.set_xticks(range(len(panel.across)), [plain(label) for label in panel.across])
    axes.set_yticks(range(len(panel.down)), [plain(label) for label in panel.down])
    axes.set_title(legend.title(evidence, panel, panel.methods), loc="left")
    axes.grid(False)
    return {}


def colour_ticks(top: float) -> list[float]:
    """Powers of ten on both sides of zero, from the largest within the scale to the end of its linear part."""
    power = math.floor(math.log10(top) + 1e-9)
    count = round(-math.log10(FLOOR))
    sizes = [float(f"1e{power - i}") for i in range(count)]
    return [*(-size for size in sizes), 0.0, *reversed(sizes)]


def matrix(evidence: Evidence, panel: Heatmap) -> np.ndarray:
    """The values [down, across] of one run at the panel's place; NaN for those that it lacks."""

    def value(down: str, across: str) -> float:
        name = panel.metric.replace("{down}", down).replace("{across}", across)
        found = evidence.of_first_seed(panel, name, panel.at)
        return math.nan if found is None else found

    return np.array([[value(down, across) for across in panel.across.values()] for down in panel.down.values()])


def profile(axes: Axes, panel: Profile, evidence: Evidence, styles: Styles) -> legend.Entries:
    """Draw a line over the groups for each epoch; the entries of the legend."""
    import matplotlib

    entries: legend.Entries = {}
    shades = matplotlib.colormaps["viridis_r"](np.linspace(0.1, 1, len(panel.epochs)))
    for epoch, shade in zip(panel.epochs, shades):
        values = means(evidence, panel, epoch)
        if values is not None:
            text = f"epoch {epoch:g}"
            look: Style = {"marker": "o", "markersize": 4, "color": shade, "clip_on": False, "gid": tag(LINE, text)}
            (entries[text],) = axes.plot(range(len(panel.across)), values, **look)
    if not entries:
        legend.say_empty(axes)
    axes.axhline(0, color="#555555", linewidth=0.6)
    axes.set_yscale("symlog", linthresh=panel.linear)
    axes.set_xticks(range(len(panel.across)), [plain(label) for label in panel.across])
    axes.set(ylabel=plain(panel.label))
    axes.set_title(legend.title(evidence, panel, panel.methods), loc="left")
    return entries


def means(evidence: Evidence, panel: Profile, epoch: float) -> list[float] | None:
    """The mean of each group's value over the epochs around this one; None if the run did not reach them."""
    low, high = (epoch + shift for shift in panel.window)
    names = [panel.metric.replace("{across}", group) for group in panel.across.values()]
    values = [evidence.of_first_seed(panel, name, "last", (low, high)) for name in names]
    return None if all(value is None for value in values) else [math.nan if v is None else v for v in values]
