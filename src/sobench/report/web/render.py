"""The templates of the pages. Every text is escaped; style and script are part of the page, without their comments."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

if TYPE_CHECKING:
    from jinja2 import Environment

POLICY = "default-src 'unsafe-inline' data: file: 'self'"
"""The browser enforces that a page has its own style and script, and loads nothing but the pictures beside it."""

_QUOTES = re.compile(r'="([\w.#-]+)"(?=[ >])')
"""The quotation marks of an attribute that HTML needs not. Those of texts are escaped, and are not found."""


def render(template: str, **values: Any) -> str:
    """A page. values: what the template shows. The same values give the same bytes."""
    text = _environment().get_template(template).render(**values)
    head, style, body = re.sub(r"\s*\n\s*", "\n", text).strip().partition("</style>")
    body, script, end = body.partition("<script>")
    return head + style + _QUOTES.sub(r"=\1", body) + script + end + "\n"


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    from sobench.report.lines import html

    loader = PackageLoader("sobench.report.web")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    environment.lstrip_blocks = True
    environment.filters["line"] = html
    environment.globals |= {"policy": POLICY, "style": _part(environment, "style.css")}
    environment.globals |= {"script": _part(environment, "script.js")}
    return environment


def _part(environment: Environment, name: str) -> dict[str, Markup]:
    """The sections of a style sheet or a script by name: a section begins with a comment `/* @name: ... */`."""
    assert environment.loader is not None
    source, _, _ = environment.loader.get_source(environment, name)
    _, *parts = re.split(r"/\* @(\w+)\b.*?\*/", source, flags=re.DOTALL)
    return {key: Markup(_compact(text)) for key, text in zip(parts[::2], parts[1::2])}


def _compact(text: str) -> str:
    """The text without indentation and line breaks, and without blanks at the operators that style and script share."""
    joined = "".join(line.strip() for line in text.splitlines())
    return re.sub(r" ?(=>|===|!==|&&|\|\||[=?]) ?", r"\1", joined)
