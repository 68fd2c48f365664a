"""Which columns of the record a report may ask for: those alone are read."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from functools import cache

from sobench.report.schema.spec import Report
from sobench.results.pick import DERIVED
from sobench.results.record import Wanted


def of(report: Report) -> Wanted:
    """Whether a column is one: every metric and axis that a report shows is a word of its description, so that any column named
    by one of its words, and what a derived metric is made of, is more than enough. {method} and its like stand for anything."""
    names = set(_words(report))
    names |= {name for metric in names & DERIVED.keys() for name in DERIVED[metric].columns}
    pattern = re.compile("|".join(re.sub(r"\\\{\w+\\\}", ".*", re.escape(name)) for name in sorted(names)), re.DOTALL)
    return cache(lambda name: pattern.fullmatch(name) is not None)


def _words(part: object) -> Iterator[str]:
    """Every text in it, keys of mappings as well; of a kind of panel also the columns that it always asks for."""
    if isinstance(part, str):
        yield part
    elif isinstance(part, Mapping):
        yield from _words([*part, *part.values()])
    elif isinstance(part, (list, tuple)):
        for item in part:
            yield from _words(item)
    elif dataclasses.is_dataclass(part):
        yield from _words(
            [getattr(part, "asks", ()), [getattr(part, field.name) for field in dataclasses.fields(part)]]
        )
