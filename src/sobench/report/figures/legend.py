"""The legend of a figure, with every method and its gaps once; the titles of panels.

Panels may show different runs of a method (another data set): a gap that not all panels have names its panel's runs.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sobench.report.evidence import Evidence
from sobench.report.figures.style import Styles, common_label, plain
from sobench.report.schema.panels import AnyPanel, Panel, Trajectory
from sobench.results.state import KEEPS

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Entries = dict[str, "Artist"]
"""The line or mark beside each text of the legend."""
HANDLE, LETTER, LINE = 0.65, 0.072, 0.19
"""About the width of an entry's line or mark, the width of a letter, and the height of a line of text, in inches."""


def entries(evidence: Evidence, methods: list[str], styles: Styles) -> Entries:
    """A line for each method, by its text, which is the same in every panel of the figure.

    Methods of one style share an entry (see `style.colours`). A method that no panel draws has none, see `absent`.
    """
    from matplotlib.lines import Line2D

    found: Entries = {}
    for method in methods:
        alike = [other for other in evidence.report.methods if styles.get(other) == styles[method]]
        if any(_drawn(evidence, other) for other in alike):
            found[_shared_text(evidence, alike)] = Line2D([], [], **styles[method])
    return found


def absent(evidence: Evidence, styles: Styles) -> list[str]:
    """The texts of the methods of panels with curves or trajectories that have no entry."""
    methods = [method for method in evidence.report.methods if _panels(evidence, method)]
    shown = [styles[method] for method in methods if _drawn(evidence, method)]
    return [text(evidence, method) for method in methods if styles[method] not in shown]


def below(sheet: Figure, artists: Sequence[Artist], texts: Sequence[str], note: str = "") -> None:
    """Put a legend below the axes, in as many columns as fit, and a note below it; the sheet grows by their height.

    For sheets with the constrained layout.
    """
    from matplotlib import rcParams

    width, height = sheet.get_size_inches()
    texts, note = [_wrapped(text, width - HANDLE) for text in texts], _wrapped(note, width - 0.3)
    widest = HANDLE + LETTER * max((len(line) for text in texts for line in text.split("\n")), default=0)
    rows = -(-len(texts) // max(1, int(width / widest)))
    tall = sum(max(text.count("\n") + 1 for text in texts[row::rows]) for row in range(rows))
    note_height = LINE * (note.count("\n") + 1) + 0.05 if note else 0.0
    height += LINE * tall + note_height + 0.15
    sheet.set_figheight(height)
    foot, bottom = note_height / height, (LINE * tall + note_height + 0.1) / height
    layout: Any = sheet.get_layout_engine()
    layout.set(rect=(0, bottom, 1, 1 - bottom))
    if note:
        sheet.text(0.5, 0.05 / height, note, ha="center", va="bottom", fontsize=rcParams["legend.fontsize"])
    if texts:
        look: dict[str, Any] = {"loc": "lower center", "bbox_to_anchor": (0.5, foot), "borderaxespad": 0}
        sheet.legend(list(artists), texts, ncols=-(-len(texts) // rows), **look)


def _wrapped(text: str, width: float) -> str:
    """The text in lines that are at most `width` inches long."""
    lines = textwrap.wrap(text, max(12, int(width / LETTER)), break_long_words=False)
    return plain("\n".join(lines))


def text(evidence: Evidence, method: str) -> str:
    """The method's label, with its gaps: "SGD (diverged 1/3)", or "SGD (faces: missing 3/3; mnist: diverged 1/3)"."""
    label, gap = evidence.report.methods[method].label, gaps(evidence, method)
    return f"{label} ({gap})" if gap else label


def gaps(evidence: Evidence, method: str) -> str:
    """ "diverged 1/3"; with the names of the panels' runs, if these differ; empty if every panel has every seed."""
    found: dict[str, str] = {}
    for panel in _panels(evidence, method):
        if isinstance(panel, Panel) and _any(evidence, panel):
            found[_where(panel)] = found.get(_where(panel)) or _gap(evidence, method, panel)
    if len(set(found.values())) <= 1:
        return next(iter(found.values()), "")
    return "; ".join(f"{where}: {gap}" for where, gap in found.items() if gap)


def _shared_text(evidence: Evidence, methods: list[str]) -> str:
    """The text of one entry for methods of one style: what their labels have in common, and the gaps of each."""
    if len(methods) == 1:
        return text(evidence, methods[0])
    labels = {method: evidence.report.methods[method].label for method in methods}
    common = common_label(list(labels.values()))
    rest = {method: label.removeprefix(common).strip(" ,:") for method, label in labels.items()}
    found = [f"{rest[method]}: {gap}" for method in methods if (gap := gaps(evidence, method))]
    return f"{common} ({'; '.join(found)})" if found else common


def _panels(evidence: Evidence, method: str) -> list[Panel | Trajectory]:
    """The panels with a line for each method that should have one of this method."""
    shown = [evidence.by_cost(panel) for panel in evidence.report.panels]
    panels = [panel for panel in shown if isinstance(panel, (Panel, Trajectory))]
    return [panel for panel in panels if method in (panel.methods or evidence.report.methods)]


def _drawn(evidence: Evidence, method: str) -> bool:
    """Whether a panel draws the method, or no panel draws any: each then says so itself."""
    return any(drawable(evidence, method, panel) or not _any(evidence, panel) for panel in _panels(evidence, method))


def title(evidence: Evidence, panel: AnyPanel, methods: list[str]) -> str:
    """The panel's title; if its data set stands in for another, with the name of the data set."""
    names = ", ".join(evidence.look_alikes(methods, panel.where))
    return plain(f"{panel.title} ({names})" if names and panel.title else panel.title or names)


def say_empty(axes: Axes, disturbed: bool = False) -> None:
    """Write into a panel that it has nothing to show; disturbed: as the times of its finished runs do not count."""
    axes.text(
        0.5,
        0.5,
        "other work disturbed every run:\ntheir times do not count"
        if disturbed
        else "no run of this panel is finished",
        transform=axes.transAxes,
        ha="center",
        va="center",
        zorder=5,
        bbox={"facecolor": "white", "edgecolor": "none"},
    )


def drawable(evidence: Evidence, method: str, panel: Panel | Trajectory) -> bool:
    """Whether a run of the method is over, so that the panel can draw the method."""
    states = evidence.states(panel)
    return any(states[run.id].status in KEEPS for run in evidence.runs(method, panel.where))


def _any(evidence: Evidence, panel: Panel | Trajectory) -> bool:
    """Whether the panel draws any method; if not, the panel says so itself, see `say_empty`."""
    return any(drawable(evidence, method, panel) for method in panel.methods or evidence.report.methods)


def _where(panel: Panel) -> str:
    """The values that distinguish the panel's runs from those of others: "mnist", "curves/curves_synthetic"."""
    values = ["/".join(map(str, value)) if isinstance(value, list) else str(value) for value in panel.where.values()]
    return ", ".join(values) or panel.title or panel.label


def _gap(evidence: Evidence, method: str, panel: Panel) -> str:
    """ "diverged 1/3, 10 of 20 steps"; empty if every seed is in the mean, with its whole budget."""
    runs, states = evidence.runs(method, panel.where), evidence.states(panel)
    found = [states[run.id].status for run in runs]
    gaps = [f"{status} {found.count(status)}/{len(runs)}" for status in sorted(set(found) - {"done"})]
    if cut := evidence.cuts(panel.where).get(method):
        gaps.append(f"{cut.steps:,} of {cut.of:,} steps")
    if not runs:
        gaps.append("missing")
    elif "done" in found and not _recorded(evidence, method, panel):
        gaps.append("not recorded")
    return ", ".join(gaps)


def _recorded(evidence: Evidence, method: str, panel: Panel) -> bool:
    return any(np.isfinite(y).any() for _, _, y in evidence.curves(method, panel, "done"))
