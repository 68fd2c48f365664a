"""Docstrings in plain text, shown as they are written.

The docstrings of sobench are no markup. `x` is code, an indented paragraph is a formula or an example, lines that begin
with "- " or with "name: " are the items of a list, and every other character stands for itself. This extension turns
them into the reStructuredText that shows the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

_CODE = re.compile(r"(`[^`\n]+`)")
_SPECIAL = re.compile(r"([\\*`|_<>:\[\].()#-])")
_ITEM = re.compile(r"- |(\w+(?:, \w+)*): ")


def setup(app: Any) -> dict[str, Any]:
    app.connect("autodoc-process-docstring", _process)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _process(app: Any, what: str, name: str, subject: Any, options: Any, lines: list[str]) -> None:
    lines[:] = restructured(lines)


def restructured(lines: Sequence[str]) -> list[str]:
    """The lines of a docstring as reStructuredText."""
    found: list[str] = []
    in_literal = False
    for paragraph in _paragraphs(lines):
        literal = all(line[0].isspace() for line in paragraph)
        if literal and not in_literal:
            found += ["::", ""]
        in_literal = literal
        found += [*(paragraph if literal else _text(paragraph)), ""]
    return found


def _paragraphs(lines: Sequence[str]) -> Iterator[list[str]]:
    """The runs of lines between empty lines."""
    for has_text, run in groupby(lines, lambda line: bool(line.strip())):
        if has_text:
            yield list(run)


def _text(paragraph: Sequence[str]) -> list[str]:
    """A paragraph, or a list if its first line begins an item and another line does, or the mark is a dash."""
    starts = [place for place, line in enumerate(paragraph) if _ITEM.match(line)]
    is_list = starts[:1] == [0] and (len(starts) > 1 or paragraph[0].startswith("- "))
    if not is_list:
        return [_escaped(line.strip()) for line in paragraph]
    ends = [*starts[1:], len(paragraph)]
    return [_item(" ".join(map(str.strip, paragraph[start:end]))) for start, end in zip(starts, ends, strict=True)]


def _item(text: str) -> str:
    """An item of a list; its name, if it has one, is code."""
    named = _ITEM.match(text)
    name = named and named[1]
    return f"- ``{name}``: {_escaped(text[named.end() :])}" if name else f"- {_escaped(text.removeprefix('- '))}"


def _escaped(text: str) -> str:
    """Text in which only `code` has a meaning."""
    parts = _CODE.split(text)
    return "".join(f"`{part}`\\ " if _CODE.fullmatch(part) else _SPECIAL.sub(r"\\\1", part) for part in parts)
