"""The answer of a command: found out once, then printed as text for people or, with --json, as a JSON document.

With --json everything else that is printed, progress and warnings, goes to standard error. The documents are described
in docs/json.md.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from sobench.errors import UsageError
from sobench.system.output import on_standard_error
from sobench.system.text import either

JSON = "--json"
SCHEMA = 1
"""The number of the form of the documents. It is raised when a key is removed or gets another meaning."""
COMMANDS = (
    "run",
    "status",
    "runs",
    "list",
    "show",
    "plan",
    "report",
    "reproduce",
    "compare",
    "check",
    "parity",
    "tune",
)
"""The commands that take --json."""


@dataclass(frozen=True)
class Answer:
    """What a command found out.

    document: makes the JSON document, without the keys that all documents have. show: prints the text, after what the
    command printed on its way. code: the exit code.
    """

    document: Callable[[], Mapping[str, Any]]
    show: Callable[[], None]
    code: int = 0


def given(command: Callable[[], Answer | int], name: str, *, as_json: bool) -> int:
    """Run a command and print its answer in the form that is asked for. Returns the exit code.

    A command that returns its exit code has no answer: it printed everything itself, or there is nothing to say.
    """
    if not as_json:
        answer = command()
        if isinstance(answer, int):
            return answer
        answer.show()
        return answer.code
    with on_standard_error():
        answer = command()
        if isinstance(answer, int):
            return answer
        text = as_text({"command": name, "schema": SCHEMA, **answer.document()})
    print(text)
    return answer.code


def as_text(document: Mapping[str, Any]) -> str:
    """A document as indented JSON. NaN and infinities become null."""
    import orjson

    return orjson.dumps(document, default=_plain, option=orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY).decode()


def _plain(value: Any) -> Any:
    """A value that JSON has no type for: a path becomes its text, a set a sorted list."""
    if isinstance(value, PurePath):
        return os.fspath(value)
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def check_place(arguments: Sequence[str]) -> None:
    """Raises UsageError for --json with a command that does not take it."""
    if JSON in arguments and arguments[0] not in COMMANDS:
        got = "no command before it" if arguments[0] == JSON else f"sobench {arguments[0]}"
        raise UsageError(f"{JSON}: got {got}, allowed: with {either(COMMANDS)}")


def as_asked() -> None:
    """The `show` of a command that has already printed everything on its way."""


def shown(*lines: str) -> Callable[[], None]:
    """The `show` of a command that prints these lines."""

    def show() -> None:
        print(*lines, sep="\n")

    return show
