"""The columns of the record that a report may need, so that no others are read."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from functools import cache

from sobench.report.schema.panels import Panel
from sobench.report.schema.spec import Report
from sobench.results.axes import is_time
from sobench.results.pick import DERIVED, SIZE
from sobench.results.record import STEP_COST, Wanted


def of(report: Report) -> Wanted:
    """The test whether a column is needed.

    Every metric and axis that a report shows is a text of its description: all columns named by a text of it, and those
    of the derived metrics, include the needed ones. {method} and other names in braces stand for anything.
    """
    names = set(_words(report))
    if any(is_time(panel.x) for panel in report.panels if isinstance(panel, Panel)):
        names.add(STEP_COST)  # see Evidence.by_cost
    names |= {size[1] for name in names if (size := SIZE.fullmatch(name))}
    names |= {name for metric in names & DERIVED.keys() for name in DERIVED[metric].columns}
    pattern = re.compile("|".join(re.sub(r"\\\{\w+\\\}", ".*", re.escape(name)) for name in sorted(names)), re.DOTALL)
    return cache(lambda name: pattern.fullmatch(name) is not None)


def _words(part: object) -> Iterator[str]:
    """Every text in a part of a report, with the keys of mappings and the columns that a panel always needs."""
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
