"""The style of the figures: one colour for each method, the same in every figure of a paper."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sobench.report.schema.catalogue import read, reports
from sobench.report.schema.spec import Report

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#7F7F7F")
"""Okabe and Ito (2008), told apart with any colour vision; grey in place of yellow, which a white page swallows."""
DASHES = ("solid", (0, (6, 1.5)), (0, (3, 1.2, 1, 1.2)), (0, (1.5, 1)))
"""Line styles: the methods beyond the first eight repeat the colours with the next style."""

Style = dict[str, Any]
"""Line properties, as matplotlib takes them."""
Styles = dict[str, Style]
"""By method."""

RC: dict[Any, Any] = {
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.labelsize": 10,
    "legend.fontsize": 9,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#E6E6E6",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "lines.linewidth": 1.6,
    "legend.frameon": False,
    "pdf.fonttype": 42,
    "svg.hashsalt": "sobench",
    "figure.dpi": 100,
    "savefig.dpi": 200,
}


def plain(text: str) -> str:
    """The text as matplotlib shows it letter by letter: a `$` starts no formula."""
    return text.replace("$", r"\$")


def colours(report: Report, *, folder: Path | None = None) -> Styles:
    """The line properties of each method of the report, by its place among all methods of the paper's reports.

    A report whose methods are series of one run, and none of them a method of another report, starts with the first
    colour.
    """
    methods: dict[str, None] = {}
    for other in reports(folder=folder):
        if other.rpartition("/")[0] != report.paper:
            continue
        of_paper = read(other, folder=folder)
        if not of_paper.series:
            methods |= dict.fromkeys(of_paper.methods)
    if not methods.keys() & report.methods.keys():  # series of one run, such as its layers
        methods = {}
    methods |= dict.fromkeys(report.methods)
    return {
        method: {"color": PALETTE[place % len(PALETTE)], "linestyle": DASHES[place // len(PALETTE) % len(DASHES)]}
        for place, method in enumerate(methods)
    }
