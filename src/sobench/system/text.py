"""Lengths of time as a person writes them: 90s, 15m, 4h, 1h30m, 30d; and one line where something takes long.

Many whole numbers as a person writes them: 0, 1, 5 to 1999.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterable, Sequence
from itertools import groupby

from sobench.errors import UsageError

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def parse_duration(name: str, text: str) -> float:
    """The seconds of "1h30m". Raises UsageError, naming the option, for anything else."""
    parts = re.findall(r"(\d+(?:\.\d+)?)([smhd])", text)
    total = sum(float(number) * UNITS[unit] for number, unit in parts)
    if "".join(map("".join, parts)) != text or not total:
        raise UsageError(f"{name}: got {text!r}, allowed: a duration above 0, as 90s, 15m, 4h, 1h30m or 30d")
    return total


def format_duration(total: float) -> str:
    """ "0.4 s", "12 s", "3 min", "1 h 05 min", "2 d 03 h" """
    if total < 60:
        return f"{total:.2g} s" if total < 10 else f"{total:.0f} s"
    minutes = round(total / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours < 48 else f"{hours // 24} d {hours % 24:02d} h"


class Wait:
    """For `count` things that may take long: after PATIENCE seconds a line on standard error says for how long, once."""

    PATIENCE = 3.0

    def __init__(self, what: str, count: int):
        self.what, self.count, self.done, self._told = what, count, 0, False
        self._begun = time.monotonic()

    def one_done(self) -> None:
        self.done += 1
        seconds = time.monotonic() - self._begun
        if seconds > self.PATIENCE and not self._told:
            self._told = True
            left = format_duration(seconds / self.done * (self.count - self.done))
            print(
                f"sobench: {self.count:,} {self.what}, {self.done:,} done, about {left} more",
                file=sys.stderr,
                flush=True,
            )


def format_ranges(numbers: Iterable[int]) -> str:
    """In order, each once; three or more that follow each other are a span."""
    numbered = enumerate(sorted(set(numbers)))
    runs = [[number for _, number in run] for _, run in groupby(numbered, lambda placed: placed[1] - placed[0])]
    return ", ".join(f"{run[0]} to {run[-1]}" if len(run) > 2 else ", ".join(map(str, run)) for run in runs)


def table(rows: Sequence[Sequence[str]], align: str = "", gap: str = "  ") -> list[str]:
    """The lines of a text table; every row has as many cells as the first.

    align: one letter a column, "l" or "r"; the last letter holds for all further columns. Columns are aligned left without it.
    Trailing blanks are stripped.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    letters = (align or "l").ljust(len(widths), (align or "l")[-1])
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if letter == "r" else cell.ljust(width)
            for cell, width, letter in zip(row, widths, letters)
        ]
        lines.append(gap.join(cells).rstrip())
    return lines


def plural(count: int, noun: str) -> str:
    """ "1 run", "2,000 runs" """
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
