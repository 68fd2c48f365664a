"""Prints a written report on the terminal: its table, a line for each claim, and the counts of the answers."""

from __future__ import annotations

import csv
from pathlib import Path

from rich.console import Console
from rich.markdown import Markdown
from rich.markup import escape
from rich.table import Table

from sobench.report.claims import FAILS, HOLDS, NOT_JUDGED, NOT_RUN, UNDECIDED, counted

COLOURS = {HOLDS: "green", FAILS: "red", UNDECIDED: "yellow", NOT_JUDGED: "cyan", NOT_RUN: "dim"}


def show(title: str, folder: Path, console: Console) -> None:
    """Print the table and the verdicts that `write` left in `folder`."""
    console.print(f"\n[bold]{escape(title)}[/bold]")
    table, claims = folder / "table.md", folder / "claims.csv"
    if table.exists():
        console.print(Markdown(table.read_text(encoding="utf-8")))
    if claims.exists():
        with claims.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        console.print(_lines(rows))
        console.print(f"Claims: {counted(row['verdict'] for row in rows)}")


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
