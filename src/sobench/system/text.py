"""Text for people: durations (1h30m), ranges of whole numbers (0, 1, 5 to 1999), text tables, a progress line."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterable, Sequence
from itertools import groupby

from sobench.errors import UsageError
from sobench.system.output import say

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def parse_duration(name: str, text: str) -> float:
    """The seconds of a duration such as "1h30m".

    Raises UsageError, which names the option `name`, for anything else.
    """
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


def format_ranges(numbers: Iterable[int]) -> str:
    """The distinct numbers in ascending order; three or more consecutive ones become a range: "0, 1, 5 to 1999"."""
    indexed = enumerate(sorted(set(numbers)))
    parts = []
    for _, group in groupby(indexed, lambda pair: pair[1] - pair[0]):  # constant within consecutive numbers
        consecutive = [number for _, number in group]
        if len(consecutive) > 2:
            parts.append(f"{consecutive[0]} to {consecutive[-1]}")
        else:
            parts += map(str, consecutive)
    return ", ".join(parts)


def table(rows: Sequence[Sequence[str]], align: str = "", gap: str = "  ") -> list[str]:
    """The rows as lines of text whose columns are aligned; trailing blanks are stripped.

    rows: of equal length, the header among them. align: a letter a column, "l" (left) or "r" (right); the last letter
    holds for the further columns, and "" aligns every column left. gap: the text between two columns.
    """
    if not rows:
        return []
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    align = (align or "l").ljust(len(widths), (align or "l")[-1])
    lines = []
    for row in rows:
        cells = zip(row, widths, align[: len(widths)], strict=True)
        padded = [text.rjust(width) if letter == "r" else text.ljust(width) for text, width, letter in cells]
        lines.append(gap.join(padded).rstrip())
    return lines


def plural(count: int, noun: str) -> str:
    """ "1 run", "2,000 runs" """
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def either(words: Iterable[str]) -> str:
    """ "a, b or c" """
    *others, last = words
    return f"{', '.join(others)} or {last}" if others else last


class Wait:
    """One line on standard error when `count` steps take long: after PATIENCE seconds, an estimate of the time left.

    what: the steps, as a plural noun phrase. The line is printed at most once.
    """

    PATIENCE = 3.0

    def __init__(self, what: str, count: int):
        self.what, self.count, self.done = what, count, 0
        self._started = time.monotonic()
        self._announced = False

    def one_done(self) -> None:
        """Count one step as finished, and print the line if it is time to."""
        self.done += 1
        seconds = time.monotonic() - self._started
        if self._announced or seconds <= self.PATIENCE:
            return
        self._announced = True
        left = format_duration(seconds / self.done * (self.count - self.done))
        line = f"sobench: {self.count:,} {self.what}, {self.done:,} done, about {left} more"
        say(line, sys.stderr)
