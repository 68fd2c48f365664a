"""The figure of a report: its panels and one legend, as PNG and PDF. The same runs give the same bytes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sobench.report.evidence import Evidence
from sobench.report.figures import contour, curve, groups, legend, overlap, sensitivity, trajectory
from sobench.report.figures.legend import Entries
from sobench.report.figures.saving import save
from sobench.report.figures.style import RC, Styles, colours
from sobench.report.schema.panels import AnyPanel

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANELS: dict[str, Callable[..., Entries]] = {
    "curve": curve.draw,
    "contour": contour.draw,
    "trajectory": trajectory.draw,
    "heatmap": groups.heatmap,
    "profile": groups.profile,
    "sensitivity": sensitivity.draw,
}
"""By kind of panel, the function that draws it: (axes, panel, evidence, styles) -> entries of the legend."""

OWN_ENTRIES = {"contour": "mark", "profile": "epoch"}
"""What an entry of the legend stands for, by the kind of its panel, where that is not a method."""


@dataclass(frozen=True)
class Drawn:
    """A figure in the size and with the limits in which it is saved.

    panels: each with its axes. entries: the lines and marks of the legend, by their text. texts: by method, the text of
    its entry. note: the methods without a line, in words.
    """

    sheet: Figure
    panels: list[tuple[AnyPanel, Axes]]
    entries: dict[str, Artist]
    texts: dict[str, str]
    note: str = ""


def figure(evidence: Evidence, out: Path, *, folder: Path | None = None) -> list[Path]:
    """Write figure.png and figure.pdf into `out`. folder: that of the reports' files, see `style.colours`."""
    return save(drawn(evidence, folder=folder).sheet, out)


def drawn(evidence: Evidence, *, folder: Path | None = None) -> Drawn:
    """Draw the figure of a report, and leave matplotlib's backend as it is. folder: see `figure`."""
    import matplotlib
    from matplotlib.figure import Figure

    spec = evidence.report.figure
    assert spec is not None
    panels = evidence.panels
    columns = min(spec.columns, len(panels))
    rows = math.ceil(len(panels) / columns)
    styles = colours(evidence.report, folder=folder)
    with matplotlib.rc_context(RC):
        sheet = Figure(figsize=(3.7 * columns, 3.0 * rows), layout="constrained", dpi=RC["savefig.dpi"])
        grid = list(sheet.subplots(rows, columns, squeeze=False).flat)
        entries: dict[tuple[str, str], Artist] = {}
        for axes, panel in zip(grid, panels, strict=False):
            group = OWN_ENTRIES.get(panel.kind, "method")
            of_panel = PANELS[panel.kind](axes, panel, evidence, styles)
            entries |= {(group, text): artist for text, artist in of_panel.items()}
        for axes in grid[len(panels) :]:
            axes.set_visible(False)
        absent = legend.absent(evidence, styles)
        note = f"Not drawn: {', '.join(absent)}." if absent else ""
        _below(sheet, entries, note, dotted=any(panel.published for panel in panels))
        layout = sheet.get_layout_engine()
        assert layout is not None  # constrained
        layout.execute(sheet)
        sheet.set_layout_engine(None)  # the layout is made once for both files, instead of twice by each savefig
        for axes in grid[: len(panels)]:
            overlap.alternate(axes)
        artists = {text: artist for (_, text), artist in entries.items()}
        return Drawn(sheet, list(zip(panels, grid, strict=False)), artists, _texts(evidence, styles), note)


def _texts(evidence: Evidence, styles: Styles) -> dict[str, str]:
    """By method, the text of its entry in the legend; its label, where it has none."""
    methods = evidence.report.methods
    return {
        name: next(iter(legend.entries(evidence, [name], styles)), method.label) for name, method in methods.items()
    }


def _below(sheet: Figure, entries: dict[tuple[str, str], Artist], note: str, *, dotted: bool) -> None:
    """The legend below all panels: each entry once, and the methods without a line. entries: by kind and text."""
    from matplotlib.lines import Line2D

    if dotted:
        entries = entries | {
            ("published", "published"): Line2D([], [], color="#555555", linestyle=(0, (1, 1.5)), linewidth=1.2)
        }
    legend.below(sheet, list(entries.values()), [text for _, text in entries], note)
