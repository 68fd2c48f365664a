"""Prints a written report on the terminal: its table, and a line for each claim."""

from __future__ import annotations

import csv
from pathlib import Path

from rich.console import Console
from rich.markdown import Markdown
from rich.table import Table

COLOURS = {"holds": "green", "fails": "red", "undecided": "yellow"}


def show(title: str, folder: Path, console: Console) -> None:
    """Print the table and the verdicts that `write` left in `folder`."""
    console.print(f"\n[bold]{title}[/bold]")
    table, claims = folder / "table.md", folder / "claims.csv"
    if table.exists():
        console.print(Markdown(table.read_text(encoding="utf-8")))
    if claims.exists():
        lines = Table(box=None, show_header=False, pad_edge=False)
        with claims.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                verdict = f"[{COLOURS[row['verdict']]}]{row['verdict']}[/]"
                lines.add_row(verdict, row["id"], row["reading"] or row["text"])
        console.print(lines)
