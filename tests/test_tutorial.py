"""The tutorial's commands give what docs/tutorial.md shows below them."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import command

from sobench.config.grid import expand
from sobench.system.files import CHECKOUT

PAGE = CHECKOUT / "docs/tutorial.md"
CUT = "..."


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE)


def steps() -> Iterator[tuple[list[str], list[str]]]:
    """The words of each command and the lines below it, in order."""
    for block in blocks("console"):
        for part in re.split(r"^\$ ", block.replace("\\\n", ""), flags=re.MULTILINE)[1:]:
            first, *shown = part.splitlines()
            yield shlex.split(first), shown


def steady(line: str) -> str:
    """A line in which no number depends on the machine or on rounding, blanks collapsed; "" for another line."""
    return "" if line == CUT or re.search(r"\d\.\d|\d (s|min|h)\b", line) else " ".join(line.split())


@pytest.fixture
def mine(workplace) -> Path:
    (text,) = blocks("python")
    path = workplace / "mine.py"
    path.write_text(text)
    return path


def test_the_sweeps_have_as_many_runs_as_the_page_says(mine):
    sweeps = [(words, shown) for words, shown in steps() if words[:3] == ["sobench", "run", "-m"]]
    assert len(sweeps) == 1
    for words, shown in sweeps:
        assert shown[-1] == f"{len(expand(words[3:]))} runs: {len(expand(words[3:]))} done"


def test_the_numbers_that_the_page_explains_are_in_the_output_above_them():
    output, _, reading = PAGE.read_text("utf-8").partition("## Read the page")
    explained = re.findall(r"\d+\.\d+", reading.partition("```")[0])
    assert len(explained) >= 5 and all(number in output for number in explained), explained


@pytest.mark.slow
def test_the_commands_give_what_the_page_shows(mine):
    count = 0
    for words, shown in steps():
        if words[0] == "sobench":
            done = command(*words[1:])
            assert done.code == 0, done
            printed = {steady(line) for line in done.out.splitlines()}
            missing = [line for line in filter(None, map(steady, shown)) if line not in printed]
            assert not missing, (words, missing, done.out)
            assert not done.out.rstrip().endswith(".md") or Path(done.out.splitlines()[-1]).is_file()
            count += 1
        else:
            before = mine.read_text()
            subprocess.run(words, check=True)
            assert mine.read_text() != before
    assert count >= 8
