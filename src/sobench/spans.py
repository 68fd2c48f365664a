"""Many whole numbers as a person writes them: 0, 1, 5 to 1999."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby


def spans(numbers: Iterable[int]) -> str:
    """In order, each once; three or more that follow each other are a span."""
    numbered = enumerate(sorted(set(numbers)))
    runs = [[number for _, number in run] for _, run in groupby(numbered, lambda placed: placed[1] - placed[0])]
    return ", ".join(f"{run[0]} to {run[-1]}" if len(run) > 2 else ", ".join(map(str, run)) for run in runs)
