"""The page over all reports in a folder: every artifact of every paper, own reports, tunings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sobench.report.claims import ANSWERS
from sobench.report.lines import in_ticks
from sobench.report.view import FOOTER
from sobench.report.web.render import render


@dataclass(frozen=True)
class Entry:
    """A written report. folder: relative to the index. answers: the number of claims with each answer; None where the
    verdicts were withdrawn. remark: what there is in place of answers, or beside them."""

    folder: str
    data: str
    budget: str
    seeds: str
    device: str
    date: str
    answers: Counter[str] | None
    remark: str = ""


@dataclass(frozen=True)
class Item:
    """An artifact or another subject, with its reports. key: its place on the page, "practical-table-3"."""

    key: str
    name: str
    title: str
    entries: list[Entry]


@dataclass(frozen=True)
class Section:
    """A paper, or a group of reports that belong to none. answers: each claim counted once."""

    key: str
    title: str
    about: str
    items: list[Item]
    answers: Counter[str]

    @property
    def with_reports(self) -> list[Item]:
        return [item for item in self.items if item.entries]

    @property
    def without(self) -> list[Item]:
        """The artifacts that have no report yet."""
        return [item for item in self.items if not item.entries]


def index(papers: Sequence[Section], others: Sequence[Section]) -> str:
    """The page."""
    written = [entry for section in (*papers, *others) for item in section.items for entry in item.entries]
    artifacts = [item for section in papers for item in section.items]
    facts = [
        (len(papers), "papers"),
        (len(artifacts), "artifacts"),
        (sum(bool(item.entries) for item in artifacts), "with a report"),
        (len(written), "pages"),
    ]
    answers = _total(section.answers for section in papers)
    return render(
        "index.html",
        papers=papers,
        others=others,
        facts=facts,
        counts=listed(answers),
        listed=listed,
        footer=in_ticks(FOOTER),
    )


def listed(answers: Counter[str]) -> list[tuple[str, int]]:
    """Each answer that there is, with its number, in the order of the answers."""
    return [(name, answers[name]) for name in ANSWERS if answers[name]]


def _total(counts: Iterable[Counter[str]]) -> Counter[str]:
    return sum(counts, Counter[str]())
