"""Prints a written report on the terminal: its table, its choice of settings and notes, and a line for each claim."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.markdown import Markdown
from rich.markup import escape
from rich.table import Table

from sobench.report.choice import sentence
from sobench.report.claims import ANSWERS, FAILS, HOLDS, NOT_JUDGED, NOT_RUN, UNDECIDED
from sobench.report.schema.spec import Report
from sobench.system.text import plural

COLOURS = {HOLDS: "green", FAILS: "red", UNDECIDED: "yellow", NOT_JUDGED: "cyan", NOT_RUN: "dim"}


def show(report: Report, folder: Path, console: Console) -> None:
    """Print what `write` left in `folder`: the table, the verdicts, and how settings were chosen, if any were."""
    console.print(f"\n[bold]{escape(report.title)}[/bold]")
    table = folder / "table.md"
    if table.exists():
        console.print(Markdown(table.read_text(encoding="utf-8")))
    if report.choice:
        for text in (sentence(report.choice), *(note.text for note in report.notes)):
            console.print(f"- {text}", markup=False, highlight=False, soft_wrap=not console.is_terminal)
    if rows := _claims(folder):
        console.print(_lines(rows))


def claims_line(folder: Path) -> str:
    """ "3 of 6 claims hold, 1 fails, 2 undecided": the answers that `write` left in `folder`; "" without claims."""
    rows = _claims(folder)
    if not rows:
        return ""
    counts = Counter(row["verdict"] for row in rows)
    others = [f"{counts[name]} {name}" for name in ANSWERS if name != HOLDS and counts[name]]
    verb = "holds" if len(rows) == 1 else "hold"
    return ", ".join([f"{counts[HOLDS]} of {plural(len(rows), 'claim')} {verb}", *others])


def _claims(folder: Path) -> list[dict[str, str]]:
    """The lines of claims.csv; none for a report without claims."""
    path = folder / "claims.csv"
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _lines(rows: list[dict[str, str]]) -> Table:
    """A line for each claim whose runs were asked for: the answer, its numbers or its reason, and what is claimed."""
    lines = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("answer", "claim", "n", "p", "what it says (and why there is no answer)"):
        lines.add_column(column, no_wrap=column in ("answer", "n", "p"))
    for row in rows:
        if row["verdict"] == NOT_RUN and not int(row["expected"]):
            continue
        why = "; ".join(row[key] for key in ("reason", "more") if row[key])
        says = escape(row["reading"] or row["text"]) + (f" [dim]({escape(why)})[/dim]" if why else "")
        p = f"{float(row['adjusted_p']):.2g}" if row["adjusted_p"] else "–"
        lines.add_row(f"[{COLOURS[row['verdict']]}]{row['verdict']}[/]", row["id"], row["n"], p, says)
    return lines
