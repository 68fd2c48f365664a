"""The style of the figures: one colour for each method, the same in every figure of a paper."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from sobench.report.schema.catalogue import read, reports
from sobench.report.schema.spec import Report

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#7F7F7F")
"""Okabe and Ito (2008), told apart with any colour vision; grey in place of yellow, which a white page swallows."""
DASHES = ("solid", (0, (6, 1.5)), (0, (3, 1.2, 1, 1.2)), (0, (1.5, 1)))
"""Line styles: the methods beyond the first eight repeat the colours, with the next style if a report has both."""

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
    colour. Methods that are the same optimizer in different panels have one style, see `twins`.
    """
    methods: dict[str, None] = {}
    for other in reports(folder=folder):
        if other.rpartition("/")[0] != report.paper:
            continue
        of_paper = read(other, folder=folder)
        if not of_paper.series:
            methods |= dict.fromkeys(twins(of_paper).values())
    first = twins(report)
    if not methods.keys() & first.keys():  # series of one run, such as its layers
        methods = {}
    methods |= dict.fromkeys(first.values())
    places = list(methods)
    palette = {method: PALETTE[places.index(method) % len(PALETTE)] for method in dict.fromkeys(first.values())}
    used = list(palette.values())
    dashes = {method: DASHES[used[:i].count(palette[method]) % len(DASHES)] for i, method in enumerate(palette)}
    return {method: {"color": palette[first[method]], "linestyle": dashes[first[method]]} for method in report.methods}


def twins(report: Report) -> dict[str, str]:
    """For each method of the report, the first that has its style: itself, or one of the same optimizer.

    The methods of an optimizer have one style if no panel shows two of them and their labels have a common beginning:
    "Adam, relu" in one panel and "Adam, sin" in another.
    """
    by_optimizer: dict[str, list[str]] = {}
    for method, settings in report.methods.items():
        name = settings.where.get("optimizer", settings.where.get("optimizer.name", method))
        by_optimizer.setdefault(str(name), []).append(method)
    found = {method: method for method in report.methods}
    for alike in by_optimizer.values():
        together = [len({*alike} & {*(panel.methods or report.methods)}) for panel in report.panels]
        if max(together, default=2) == 1 and common_label([report.methods[method].label for method in alike]):
            found |= dict.fromkeys(alike, alike[0])
    return found


def common_label(labels: list[str]) -> str:
    """The common beginning of the labels: "Adam" of "Adam, relu" and "Adam, sin"; empty without whole words."""
    common = os.path.commonprefix(labels)
    if any(len(label) > len(common) and label[len(common)].isalnum() for label in labels) and common[-1:].isalnum():
        common = common.rpartition(" ")[0]
    if common.count("(") > common.count(")"):
        common = common.rpartition("(")[0]
    return common.rstrip(" ,:")
