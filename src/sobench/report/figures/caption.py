"""The caption of a figure: what its lines and marks mean."""

from __future__ import annotations

from collections.abc import Container

from sobench.report.schema.panels import Panel
from sobench.report.schema.spec import Report


def caption(report: Report, states: Container[str]) -> str:
    """The meaning of every line and mark of the report's panels. states: those of its runs ("diverged", ...)."""
    kinds = [panel.kind for panel in report.panels]
    sentences = [text for kind, text in KINDS.items() if kind in kinds]
    curves = [panel for panel in report.panels if isinstance(panel, Panel)]
    if "curve" in kinds and "diverged" in states:
        sentences.insert(1, DIVERGED)
    if any(panel.published for panel in curves):
        sentences.append("Dotted: the published values, in the colour of their method.")
    if {"curve", "trajectory"} & set(kinds):
        sentences.append("Dashes of one colour on a line of another: methods that coincide.")
    return " ".join(sentences)


DIVERGED = (
    "Thin and dashed, ending in a cross: a method of which no run finished, up to where the first diverged (a cross on "
    "the frame lies beyond it)."
)
KINDS = {
    "curve": (
        "Line: mean over the seeds, paired by evaluation, where a run that ended early keeps its last value; shaded: "
        "its standard error; dots on a line: its evaluations, if they are few."
    ),
    "contour": (
        "Contours: mean over seeds, interpolated between the settings that were tried (dots). Cross: a seed diverged, "
        "and the setting is left out. Ring: not every seed is finished. Star: the best."
    ),
    "trajectory": (
        "Trajectories: of the first seed that all methods finished. Triangle: the start. Cross: the end of a "
        "trajectory; one on the frame lies beyond it. White ring: the lowest loss of the grid behind the contours. A "
        "pale line is a long trajectory, which would cover the others."
    ),
    "heatmap": (
        "Matrices: of the first seed; red is above zero and blue below, by logarithms down to a thousandth of the "
        "largest entry and linear below."
    ),
    "sensitivity": (
        "Against a hyperparameter: for each of its values the best of the configurations that have it; bars: standard "
        "error; a cross on the frame: a seed of each of them diverged."
    ),
    "profile": "Profiles: of the first seed; a line for each epoch, a dot for each group of parameters.",
}
"""By kind of panel."""
