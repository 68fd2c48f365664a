"""A comparison of methods for programs and notebooks: its numbers as rows and as data frames, its figure, its text.

The comparison itself is that of `sobench.report.comparison`.
"""

from __future__ import annotations

import html
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from sobench.report.comparison import figure, page, rows
from sobench.report.comparison.page import Page
from sobench.report.comparison.study import Study

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


_NESTED = ("ratios", "needs")
"""The columns that a notebook's table leaves out."""


class Comparison:
    """Methods over one problem or many: the time to a target, wins, ranks, and how sure they are.

    times: a row for each axis, problem and method. pairs: for each axis and method beside the baseline. ranks: for each
    axis and method. runs: for each run. The columns are described in docs/json.md.
    """

    def __init__(self, compared: Page):
        self._page = compared

    @property
    def study(self) -> Study:
        return self._page.study

    @property
    def verdicts(self) -> list[str]:
        """The sentences: which method is faster on each axis, what would decide the rest, what was left out."""
        return self._page.sections[0].texts

    @property
    def times(self) -> pd.DataFrame:
        return _frame(rows.times(self.study, self._page.numbers))

    @property
    def pairs(self) -> pd.DataFrame:
        return _frame(rows.pairs(self.study, self._page.numbers))

    @property
    def ranks(self) -> pd.DataFrame:
        return _frame(rows.ranks(self.study, self._page.numbers))

    @property
    def runs(self) -> pd.DataFrame:
        return _frame(rows.runs(self.study))

    def figure(self) -> Figure:
        """The performance profiles on each axis, as the page of the comparison shows them."""
        return figure.drawn(self.study, self._page.numbers).sheet

    def document(self) -> dict[str, Any]:
        """Everything, as `sobench compare --json` prints it."""
        study, numbers = self.study, self._page.numbers
        return {
            "title": study.title,
            "made_with": study.command,
            "baseline": study.baseline,
            "methods": list(study.methods),
            "axes": list(study.axes),
            "verdicts": self.verdicts,
            "left_out": list(study.left_out),
            "times": list(rows.times(study, numbers)),
            "pairs": list(rows.pairs(study, numbers)),
            "ranks": list(rows.ranks(study, numbers)),
            "runs": list(rows.runs(study)),
        }

    def __str__(self) -> str:
        return "\n".join(page.for_terminal(self._page)).rstrip()

    def __repr__(self) -> str:
        study = self.study
        return f"<{study.title}: {', '.join(study.methods)}; baseline {study.baseline}>"

    def _repr_html_(self) -> str:
        """The verdicts, and the pairs and ranks on the last axis."""
        axis = self.study.axes[-1]
        parts = [f"<h4>{html.escape(self.study.title)}</h4>"]
        parts += ["<ul>", *(f"<li>{html.escape(sentence)}</li>" for sentence in self.verdicts), "</ul>"]
        for frame in (self.pairs, self.ranks):
            own = (
                frame[frame["axis"] == axis].drop(columns=["axis", *_NESTED], errors="ignore") if len(frame) else frame
            )
            parts.append(own.to_html(index=False, float_format="{:.3g}".format))
        return "\n".join(parts)


def _frame(own: Iterator[rows.Row]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(list(own))
