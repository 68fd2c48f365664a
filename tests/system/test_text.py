"""Many numbers in few words, none lost."""

from types import SimpleNamespace

import pytest

from sobench.cli.plan import _within
from sobench.results.state import State
from sobench.results.status import CellStatus
from sobench.system.text import format_ranges


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
    cell = SimpleNamespace(name="a", done=[], left=left, seconds=1.0)
    assert _within(0.5, [cell], "x/y", []) == ["within 0.5 s: no run", "left out: a: seed 0 to 1999"]
    failed = State("failed", "no luck", 1, 1.0, 1.0, None, {})
    assert CellStatus("a", dict.fromkeys(range(2000), failed)).reasons == ["failed: no luck (seed 0 to 1999)"]
