"""Tables of a page: cells with marks, and with what is behind a number."""

from __future__ import annotations

from dataclasses import dataclass, field

from sobench.report.lines import Line, line


@dataclass(frozen=True)
class Cell:
    """An entry. rank: `best` or `second`. mark: that of a footnote. gap: the runs that are not in the number.

    behind: what the number is made of, such as each seed with its value or its state in words; what: the word before
    it, such as "Seeds". cells: the
    configurations of the runs behind the number, by their hashes; the page describes each of them once, and a name of a
    row has those of all its numbers, if these are the same.
    """

    text: Line
    rank: str = ""
    mark: str = ""
    gap: str = ""
    what: str = ""
    behind: list[tuple[str, str]] = field(default_factory=list)
    cells: list[str] = field(default_factory=list)

    @property
    def told(self) -> str:
        """What is behind the number, in words: "Seeds 0: 1.5; 1: 1.7"."""
        return f"{self.what} " + "; ".join(f"{name}: {value}" for name, value in self.behind)


@dataclass(frozen=True)
class Grid:
    """A table that a reader can sort. The first cell of a row names it.

    words: the columns that hold no numbers; None for a table without numbers. footnotes: by their mark. notes: they
    stand below the table.
    """

    name: str
    head: list[str]
    rows: list[list[Cell]]
    words: frozenset[int] | None = frozenset({0})
    footnotes: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def cell(text: str | Line) -> Cell:
    """An entry that is text alone."""
    return Cell(line(text))


def of_lines(name: str, head: list[str], rows: list[list[Line]], words: frozenset[int] | None) -> Grid:
    """A table of lines."""
    return Grid(name, head, [list(map(cell, row)) for row in rows], words)
