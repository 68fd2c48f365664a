"""The exceptions of sobench, and exceptions as one line of text.

The class says who can mend the error. The command line prints the text as one line and exits with `exit_code`.
"""

from __future__ import annotations


class SobenchError(Exception):
    """Base class of every error that sobench raises on purpose. The text is one line for the user."""

    exit_code = 1


class UsageError(SobenchError):
    """The caller asked for something that is not allowed. The text names the value and what is allowed."""

    exit_code = 2


class Failure(SobenchError):
    """The request was valid, but something outside it failed: a download, a disk, a damaged file."""


class Unsupported(SobenchError):
    """A model or a loss does not provide what an optimizer requests. The text is the reason."""

    exit_code = 2


def described(error: BaseException) -> str:
    """An exception in one line, "kind: text", with the first line of its text; the kind alone if the text is empty."""
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}".removesuffix(": ")


def one_line(text: object, limit: int | None = None) -> str:
    """str(text) in one line: each run of whitespace becomes one blank, none is left at the ends.

    The result is cut to its first `limit` characters, if a limit is given.
    """
    return " ".join(str(text).split())[:limit]
