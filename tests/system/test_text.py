"""Ranges of numbers and text tables."""

from types import SimpleNamespace

import pytest

from sobench.cli.arguments import selection
from sobench.cli.plan import Cell, Measured, _within_lines, within_limit
from sobench.results.state import State
from sobench.results.status import CellStatus
from sobench.system.text import format_ranges, table


@pytest.mark.parametrize(
    "numbers, text",
    [
        ([], ""),
        ([3], "3"),
        ([1, 2], "1, 2"),
        ([0, 1, 2], "0 to 2"),
        ([7, 2, 0, 1, 2, 9, 10], "0 to 2, 7, 9, 10"),
        (range(5, 2000), "5 to 1999"),
    ],
)
def test_spans(numbers, text):
    assert format_ranges(numbers) == text


def test_thousands_of_seeds_are_few_words_in_a_plan_and_in_a_status():
    left = [SimpleNamespace(id=str(seed), seed=seed) for seed in range(2000)]
    cell = Cell("a", [], left, Measured(0.0, 0.0, 0.0, 1.0, 1, 0, 0, None))
    assert cell.measured.seconds == 1.0
    assert _within_lines(within_limit(0.5, [cell], selection(["x/y"]))) == [
        "within 0.5 s: no run",
        "left out: a: seed 0 to 1999",
    ]
    failed = State("failed", "no luck", 1, 1.0, 1.0, None, {})
    assert CellStatus("a", states=dict.fromkeys(range(2000), failed)).reasons == ["failed: no luck (seed 0 to 1999)"]


ROWS = [("name", "runs", "state"), ("a", "10", "done"), ("longer", "5", "")]


@pytest.mark.parametrize(
    "align, gap, lines",
    [
        ("", "  ", ["name    runs  state", "a       10    done", "longer  5"]),
        ("l", "  ", ["name    runs  state", "a       10    done", "longer  5"]),
        ("lr", "  ", ["name    runs  state", "a         10   done", "longer     5"]),
        ("lrl", " | ", ["name   | runs | state", "a      |   10 | done", "longer |    5 |"]),
        ("r", "  ", ["  name  runs  state", "     a    10   done", "longer     5"]),
        ("llllr", "  ", ["name    runs  state", "a       10    done", "longer  5"]),
    ],
)
def test_table(align, gap, lines):
    assert table(ROWS, align, gap) == lines


def test_a_table_of_nothing():
    assert table([]) == []


def test_rows_of_different_lengths_are_an_error():
    with pytest.raises(ValueError):
        table([("a", "b"), ("c",)])
