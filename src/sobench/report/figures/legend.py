"""The legend of a figure, with every method and its gaps once; the titles of panels.

Panels may show different runs of a method (another data set): a gap that not all panels have names its panel's runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sobench.report.evidence import Evidence
from sobench.report.figures.style import Styles, plain
from sobench.report.schema.panels import AnyPanel, Panel
from sobench.results.pick import column

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

Entries = dict[str, "Artist"]
"""The line or mark beside each text of the legend."""
SHOWN = ("done", "diverged")


def entries(evidence: Evidence, methods: list[str], styles: Styles) -> Entries:
    """A line for each method, by its text, which is the same in every panel of the figure."""
    from matplotlib.lines import Line2D

    return {text(evidence, method): Line2D([], [], **styles[method]) for method in methods}


def text(evidence: Evidence, method: str) -> str:
    """The method's label, with its gaps: "SGD (diverged 1/3)", or "SGD (faces: missing 3/3; mnist: diverged 1/3)"."""
    gaps: dict[str, str] = {}
    for panel in evidence.report.panels:
        if method not in (panel.methods or evidence.report.methods):
            continue
        if isinstance(panel, Panel) and _any(evidence, panel):
            gaps[_where(panel)] = gaps.get(_where(panel)) or _gap(evidence, method, panel)
    label = evidence.report.methods[method].label
    if len(set(gaps.values())) <= 1:
        gap = next(iter(gaps.values()), "")
        return f"{label} ({gap})" if gap else label
    return f"{label} ({'; '.join(f'{where}: {gap}' for where, gap in gaps.items() if gap)})"


def title(evidence: Evidence, panel: AnyPanel, methods: list[str]) -> str:
    """The panel's title; if its data set stands in for another, with the name of the data set."""
    names = ", ".join(evidence.look_alikes(methods, panel.where))
    return plain(f"{panel.title} ({names})" if names and panel.title else panel.title or names)


def say_empty(axes: Axes) -> None:
    """Write into a panel that it has nothing to show."""
    axes.text(
        0.5,
        0.5,
        "no run of this panel is finished",
        transform=axes.transAxes,
        ha="center",
        va="center",
        zorder=5,
        bbox={"facecolor": "white", "edgecolor": "none"},
    )


def drawable(evidence: Evidence, method: str, panel: Panel) -> bool:
    """Whether a run of the method is over, so that the panel can draw the method."""
    return any(evidence.states(panel)[run.id].status in SHOWN for run in evidence.runs(method, panel.where))


def _any(evidence: Evidence, panel: Panel) -> bool:
    """Whether the panel draws any method; if not, the panel says so itself, see `say_empty`."""
    return any(drawable(evidence, method, panel) for method in panel.methods or evidence.report.methods)


def _where(panel: Panel) -> str:
    """The values that distinguish the panel's runs from those of others: "mnist", "curves/curves_synthetic"."""
    values = ["/".join(map(str, value)) if isinstance(value, list) else str(value) for value in panel.where.values()]
    return ", ".join(values) or panel.title or panel.label


def _gap(evidence: Evidence, method: str, panel: Panel) -> str:
    """ "diverged 1/3, 10 of 20 steps"; empty if every seed is in the mean, with its whole budget."""
    runs = evidence.runs(method, panel.where)
    states = [evidence.states(panel)[run.id].status for run in runs]
    gaps = [f"{status} {states.count(status)}/{len(runs)}" for status in sorted(set(states) - {"done"})]
    if cut := evidence.cuts(panel.where).get(method):
        gaps.append(f"{cut.steps:,} of {cut.of:,} steps")
    if not runs:
        gaps.append("missing")
    elif "done" in states and not _recorded(evidence, method, panel):
        gaps.append("not recorded")
    return ", ".join(gaps)


def _recorded(evidence: Evidence, method: str, panel: Panel) -> bool:
    rows = evidence.rows(method, panel, panel.rows, "done")
    return bool(column(rows, panel.y.replace("{method}", method)).notna().any())
