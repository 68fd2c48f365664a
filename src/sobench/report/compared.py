"""A comparison of methods for programs and notebooks: its numbers as rows and as data frames, its figure, its text.

The comparison itself is that of `sobench.report.comparison`.
"""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from sobench.report.comparison import figure, page, verdict
from sobench.report.comparison.analysis import LOSS, TIE, WIN, OnAxis
from sobench.report.comparison.bootstrap import Estimate
from sobench.report.comparison.page import Page
from sobench.report.comparison.study import TARGET, Study

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

Row = dict[str, Any]


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
        return _frame(_times(self.study, self._page.numbers))

    @property
    def pairs(self) -> pd.DataFrame:
        return _frame(_pairs(self._page.numbers))

    @property
    def ranks(self) -> pd.DataFrame:
        return _frame(_ranks(self.study, self._page.numbers))

    @property
    def runs(self) -> pd.DataFrame:
        return _frame(_runs(self.study))

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
            "times": list(_times(study, numbers)),
            "pairs": list(_pairs(numbers)),
            "ranks": list(_ranks(study, numbers)),
            "runs": list(_runs(study)),
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
            own = frame[frame["axis"] == axis].drop(columns="axis") if len(frame) else frame
            parts.append(own.to_html(index=False, float_format="{:.3g}".format))
        return "\n".join(parts)


def _frame(rows: Iterator[Row]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(list(rows))


def _times(study: Study, numbers: Mapping[str, OnAxis]) -> Iterator[Row]:
    for axis, of_axis in numbers.items():
        for problem in study.problems:
            for method in study.methods:
                reached = of_axis.summaries[problem.name][method]
                yield {
                    "axis": axis,
                    "problem": problem.name,
                    "method": method,
                    "metric": problem.metric,
                    "target": problem.levels[TARGET],
                    "reached": reached.hit,
                    "seeds": reached.seeds,
                    "median": reached.median,
                    "low": reached.low,
                    "high": reached.high,
                    "horizon": problem.horizon(axis),
                }


def _pairs(numbers: Mapping[str, OnAxis]) -> Iterator[Row]:
    for axis, of_axis in numbers.items():
        for pair in of_axis.pairs:
            yield {
                "axis": axis,
                "method": pair.method,
                **_estimate("ratio", pair.ratio),
                **_estimate("faster", pair.better),
                "wins": pair.count(WIN),
                "ties": pair.count(TIE),
                "losses": pair.count(LOSS),
                "p": pair.p,
                "adjusted_p": pair.adjusted,
                "pairs": pair.pairs,
                "one_missed": pair.bounds,
                "both_missed": pair.open,
                "answer": verdict.answer(pair),
            }


def _estimate(name: str, estimate: Estimate) -> Row:
    return {name: estimate.mean, f"{name}_low": estimate.low, f"{name}_high": estimate.high}


def _ranks(study: Study, numbers: Mapping[str, OnAxis]) -> Iterator[Row]:
    for axis, of_axis in numbers.items():
        for rank in of_axis.ranks:
            place = study.methods.index(rank.method)
            yield {
                "axis": axis,
                "rank": rank.rank,
                "method": rank.method,
                "score": rank.score,
                "fastest": float(of_axis.profiles.shares[place, 0]),
                "band": float(of_axis.profiles.width[place]),
                "moves": {change: new for change, (_, new) in rank.moves.items()},
            }


def _runs(study: Study) -> Iterator[Row]:
    for problem in study.problems:
        for method, entry in problem.entries.items():
            for place, (seed, run) in enumerate(zip(entry.seeds, entry.runs, strict=True)):
                reached = {axis: float(problem.times(axis, method)[place]) for axis in study.axes}
                yield {
                    "problem": problem.name,
                    "method": method,
                    "seed": seed,
                    "id": run,
                    "settings": entry.settings,
                    "final": float(entry.final[place]),
                    **reached,
                }
