"""The language in which a parameter group says which parameters are its own. No torch.

    ndim >= 2 and not output
    bias or norm
    name ~ "blocks.*" and not (bias or norm)
    rest

An expression has words that are true or false of a parameter (KINDS, `rest`), comparisons of `ndim` with a whole
number, `name ~ PATTERN` with * and ? in the pattern, `and`, `or`, `not` and parentheses. `not` binds more than `and`,
and `and` more than `or`. Nothing is evaluated as Python.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import NoReturn

from sobench.config.registry import nearest
from sobench.errors import UsageError

KINDS = {
    "bias": "`bias` in its name",
    "weight": "`weight` in its name",
    "norm": "of a layer whose class is called ...Norm...",
    "embedding": "of nn.Embedding, or of a layer with `embed` in its name",
    "output": "of the last layer with parameters",
    "conv": "of a convolution",
    "linear": "of nn.Linear or of nn.MultiheadAttention",
}
"""The words for kinds of parameters, and when they are true."""

REST = "rest"
"""The word for what no earlier group takes: true of every parameter."""

ALLOWED = (
    f"{', '.join(KINDS)}, {REST}, comparisons as ndim >= 2, name ~ PATTERN, joined by and, or, not and parentheses"
)

_COMPARISONS: dict[str, Callable[[int, int], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
    ">=": operator.ge,
    ">": operator.gt,
}
_TOKEN = re.compile(r"[A-Za-z_]\w*|\d+|<=|>=|==|!=|[<>~()]|\S")
_PATTERN = re.compile(r"\s*(?:\"([^\"]*)\"|'([^']*)'|([^\s()]+))")
_DEEPEST = 20
"""Parentheses and `not` inside each other."""


@dataclass(frozen=True)
class Facts:
    """What is known of a parameter. name: its path in the model. kinds: the words of KINDS that are true of it."""

    name: str
    ndim: int
    kinds: frozenset[str]


Test = Callable[[Facts], bool]


def parse(text: str, key: str) -> Test:
    """The test that an expression makes. Raises UsageError, one line, for one with a mistake. key: where it stands."""
    return _Parser(text, key).whole()


class _Parser:
    def __init__(self, text: str, key: str):
        self._text, self._key = text, key
        self._place, self._depth = 0, 0

    def whole(self) -> Test:
        test = self._either()
        if self._next():
            self._refuse(f"{self._next()!r} is not expected there")
        return test

    def _either(self) -> Test:
        tests = [self._all()]
        while self._taken("or"):
            tests.append(self._all())
        return tests[0] if len(tests) == 1 else lambda facts: any(test(facts) for test in tests)

    def _all(self) -> Test:
        tests = [self._one()]
        while self._taken("and"):
            tests.append(self._one())
        return tests[0] if len(tests) == 1 else lambda facts: all(test(facts) for test in tests)

    def _one(self) -> Test:
        self._depth += 1
        if self._depth > _DEEPEST:
            self._refuse(f"it is nested more than {_DEEPEST} deep")
        test = self._nested()
        self._depth -= 1
        return test

    def _nested(self) -> Test:
        word = self._take()
        if word == "not":
            inner = self._one()
            return lambda facts: not inner(facts)
        if word == "(":
            inner = self._either()
            if not self._taken(")"):
                self._refuse("a parenthesis is not closed")
            return inner
        if word == REST:
            return lambda facts: True
        if word in KINDS:
            return lambda facts: word in facts.kinds
        if word == "ndim":
            return self._comparison()
        if word == "name":
            return self._pattern()
        if word in ("", "and", "or", ")"):
            self._refuse("a word is missing" + (f" before {word!r}" if word else " at the end"))
        near = nearest(word, [*KINDS, REST, "ndim", "name"])
        return self._refuse(f"there is no {word!r}", f"; did you mean {near[0]!r}?" if near else "")

    def _comparison(self) -> Test:
        sign, number = self._take(), self._take()
        if sign not in _COMPARISONS or not number.isdecimal():
            self._refuse("ndim is compared with a whole number", "; as ndim == 2")
        compare, value = _COMPARISONS[sign], int(number)
        return lambda facts: compare(facts.ndim, value)

    def _pattern(self) -> Test:
        found = _PATTERN.match(self._text, self._place) if self._taken("~") else None
        pattern = next((part for part in found.groups() if part), "") if found else ""
        if not found or not pattern:
            self._refuse("name is compared with a pattern", '; as name ~ "blocks.*"')
        self._place = found.end()
        return lambda facts: fnmatchcase(facts.name, pattern)

    def _next(self) -> str:
        """The next token, "" at the end."""
        found = _TOKEN.search(self._text, self._place)
        return found[0] if found else ""

    def _take(self) -> str:
        found = _TOKEN.search(self._text, self._place)
        self._place = found.end() if found else len(self._text)
        return found[0] if found else ""

    def _taken(self, token: str) -> bool:
        """Whether the next token is this one, which then is taken."""
        if self._next() != token:
            return False
        self._take()
        return True

    def _refuse(self, reason: str, hint: str = "") -> NoReturn:
        raise UsageError(f"{self._key}: got {self._text!r}, {reason}; allowed: {ALLOWED}{hint}")
