"""Lines of text with marked pieces (code, bold, ...), from which the Markdown and the HTML of a report are written."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from markupsafe import Markup, escape

from sobench.report.formats import Markdown

TAGS = {"code": "code", "strong": "b", "em": "em", "u": "u"}
"""The element of each mark in HTML."""
MARKS = {"": "{}", "code": "`{}`", "strong": "**{}**", "em": "*{}*", "u": "<u>{}</u>", "link": "[{0}]({0})"}
"""The marks of a piece, each as Markdown writes it. A link leads to the file of this name, beside the page."""


@dataclass(frozen=True)
class Piece:
    """A part of a line: plain text, or text with one of MARKS."""

    text: str
    mark: str = ""


Line = tuple[Piece, ...]


def line(*parts: str | Piece | Line) -> Line:
    """The line of these parts, in their order; a text is a plain piece."""
    pieces: list[Piece] = []
    for part in parts:
        pieces += part if isinstance(part, tuple) else [Piece(part) if isinstance(part, str) else part]
    return tuple(piece for piece in pieces if piece.text)


def joined(lines: Iterable[Line], separator: str) -> Line:
    """The lines in one, with a separator between two of them."""
    pieces: list[Piece] = []
    for part in lines:
        pieces += [*([Piece(separator)] if pieces else []), *part]
    return tuple(pieces)


def in_ticks(text: str) -> Line:
    """The line of a text in which backticks mark code."""
    return line(*(Piece(part, "code" if place % 2 else "") for place, part in enumerate(re.split("`", text))))


def markdown(text: Line) -> str:
    """The line in Markdown. Code is printed as it is; every other piece is escaped."""
    return "".join(
        MARKS[piece.mark].format(piece.text if piece.mark in ("code", "link") else Markdown.escape(piece.text))
        for piece in text
    )


def html(text: Line) -> Markup:
    """The line in HTML, escaped."""
    return Markup("".join(map(_element, text)))


def _element(piece: Piece) -> str:
    words = escape(piece.text)
    if piece.mark == "link":
        return f'<a href="{words}">{words}</a>'
    return f"<{TAGS[piece.mark]}>{words}</{TAGS[piece.mark]}>" if piece.mark else words
