"""The report of some runs for a notebook: its table, settings and claims as data frames, its figure, its text."""

from __future__ import annotations

import io
from functools import cached_property
from typing import TYPE_CHECKING

from sobench.errors import UsageError
from sobench.report import choice, formats, pages, table
from sobench.report.claims import Verdict, judge
from sobench.report.evidence import Evidence
from sobench.report.table import Contents

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


class ReportSummary:
    """What a report says of runs that exist; no file is written.

    table: a row for each method and column, as in table.csv. settings: for each configuration that was tried, the best
    first, as in settings.csv. claims: for each claim, as in claims.csv. A report without such a part has an empty
    frame.
    """

    def __init__(self, evidence: Evidence):
        self._evidence = evidence

    @property
    def title(self) -> str:
        return self._evidence.report.title

    @property
    def table(self) -> pd.DataFrame:
        return _frame(formats.to_csv(self._contents) if self._contents else "")

    @property
    def settings(self) -> pd.DataFrame:
        chosen = self._evidence.report.choice
        return _frame(choice.to_csv(self._evidence, chosen) if chosen else "")

    @property
    def claims(self) -> pd.DataFrame:
        return _frame(pages.claims_csv(self._verdicts) if self._verdicts else "")

    def figure(self) -> Figure:
        """The figure of the report. Raises UsageError for a report without one."""
        from sobench.report.figures.figure import drawn

        if self._evidence.report.figure is None:
            raise UsageError(f"figure: {self.title} has none; allowed: a report with a figure")
        return drawn(self._evidence).sheet

    @cached_property
    def _contents(self) -> Contents | None:
        return table.contents(self._evidence) if self._evidence.report.table else None

    @cached_property
    def _verdicts(self) -> list[Verdict]:
        return list(judge(self._evidence))

    def __repr__(self) -> str:
        return f"<report of {self.title}: {', '.join(m.label for m in self._evidence.report.methods.values())}>"

    def _repr_markdown_(self) -> str:
        """The table, how the settings were chosen, the notes and the claims."""
        report = self._evidence.report
        parts = [f"#### {formats.Markdown.escape(self.title)}"]
        parts += [formats.to_markdown(self._contents)] if self._contents else []
        parts += [choice.sentence(report.choice)] if report.choice else []
        parts += [note.text for note in report.notes]
        parts += [pages.claims_markdown(self._verdicts)] if self._verdicts else []
        return "\n\n".join(parts)


def _frame(text: str) -> pd.DataFrame:
    """The lines of a file of a report; an empty frame for an empty text."""
    import pandas as pd

    return pd.read_csv(io.StringIO(text)) if text else pd.DataFrame()
