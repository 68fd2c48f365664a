"""The templates of the pages. Every text is escaped; style and script are part of the page, as far as it uses them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

if TYPE_CHECKING:
    from jinja2 import Environment

POLICY = "default-src 'unsafe-inline' data: file: 'self'"
"""The browser enforces that a page has its own style and script, and loads nothing but the pictures beside it."""

_QUOTES = re.compile(r'="([\w.#-]+)"(?=[ >])')
"""The quotation marks of an attribute that HTML needs not. Those of texts are escaped, and are not found."""

_APOSTROPHE = "&#39;"
"""The apostrophe of a text. It needs no escape, as no attribute is quoted by one."""


def render(template: str, **values: Any) -> str:
    """A page. values: what the template shows. The same values give the same bytes."""
    text = _environment().get_template(template).render(**values)
    text = re.sub(r"\s*\n\s*", "\n", text).strip().replace(_APOSTROPHE, "'")
    head, _, body = text.partition("</style>")
    body, script, end = body.partition("<script>")
    head, body = _QUOTES.sub(r"=\1", head), _QUOTES.sub(r"=\1", body)
    return f"{head}{''.join(_used(_style(), *_names(body, end)))}</style>{body}{script}{end}\n"


def _names(body: str, script: str) -> tuple[set[str], set[str]]:
    """The classes and the elements of a page. Each word in the strings of the script may be one."""
    words = set(re.findall(r"[\w-]+", " ".join(re.findall(r'"[^"]*"|`[^`]*`', script))))
    of_elements = re.findall(r' class=(?:"([^"]*)"|([^ >]*))', body)
    classes = {name for quoted, bare in of_elements for name in (quoted or bare).split()}
    return classes | words, {"body", *re.findall(r"<(\w+)", body)} | words


def _used(style: str, classes: set[str], elements: set[str]) -> Iterator[str]:
    """The rules of a style sheet of which a selector finds something on a page with these classes and elements."""
    for selectors, rule in _rules(style):
        if selectors.startswith("@media"):
            inner = "".join(_used(rule, classes, elements))
            if inner:
                yield f"{selectors}{{{inner}}}"
        elif any(_finds(one, classes, elements) for one in _bare(selectors).split(",")):
            yield f"{selectors}{{{rule}}}"


def _rules(style: str) -> Iterator[tuple[str, str]]:
    """Each rule of the outermost level: its selectors, and what is between its braces."""
    start = depth = 0
    for place, brace in enumerate(style):
        depth += (brace == "{") - (brace == "}")
        if brace == "}" and depth == 0:
            selectors, _, rule = style[start:place].partition("{")
            yield selectors, rule
            start = place + 1


def _bare(selectors: str) -> str:
    """Selectors without attributes, pseudo-classes and what is in their parentheses."""
    while "(" in selectors:
        selectors = re.sub(r"\([^()]*\)", "", selectors)
    return re.sub(r"\[[^]]*\]|::?[\w-]+", "", selectors)


def _finds(selector: str, classes: set[str], elements: set[str]) -> bool:
    of_classes, of_elements = re.findall(r"\.([\w-]+)", selector), re.findall(r"(?<![\w.-])[a-z]\w*", selector)
    return classes.issuperset(of_classes) and elements.issuperset(of_elements)


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    from sobench.report.lines import html

    loader = PackageLoader("sobench.report.web")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    environment.lstrip_blocks = True
    environment.filters["line"] = html
    environment.globals |= {"policy": POLICY, "script": _scripts(_source(environment, "script.js"))}
    return environment


@cache
def _style() -> str:
    return _compact(re.sub(r"/\*.*?\*/", "", _source(_environment(), "style.css"), flags=re.DOTALL))


def _scripts(source: str) -> dict[str, Markup]:
    """The sections of the script by name: a section begins with a comment `/* @name: ... */`."""
    _, *parts = re.split(r"/\* @(\w+)\b.*?\*/", source, flags=re.DOTALL)
    return {key: Markup(_compact(text)) for key, text in zip(parts[::2], parts[1::2])}


def _source(environment: Environment, name: str) -> str:
    assert environment.loader is not None
    return environment.loader.get_source(environment, name)[0]


def _compact(text: str) -> str:
    """The text without indentation and line breaks, and without blanks at the operators that style and script share."""
    joined = "".join(line.strip() for line in text.splitlines())
    return re.sub(r" ?(=>|===|!==|&&|\|\||[=?,]) ?", r"\1", joined)
