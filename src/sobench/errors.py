"""What can go wrong, by who can mend it. The command line prints one line and turns each into an exit code."""


class SobenchError(Exception):
    """Any error that sobench raises on purpose; its text is one line for the user."""

    exit_code = 1


class UsageError(SobenchError):
    """The caller asked for something that is not allowed: the text says what, and what is allowed."""

    exit_code = 2


class Failure(SobenchError):
    """The request was fine, the world was not: a download, a disk, a damaged file."""


class Unsupported(SobenchError):
    """A model or a loss cannot answer a question that an optimizer asks; the text is the reason."""

    exit_code = 2


def described(error: BaseException) -> str:
    """Any exception in one line: its kind and the first line of its text."""
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}".removesuffix(": ")


def one_line(text: object, limit: int | None = None) -> str:
    """str(text) in one line: each run of whitespace becomes one blank, none is left at the ends.

    The result is cut to its first `limit` characters, if a limit is given.
    """
    return " ".join(str(text).split())[:limit]
