"""Standard output and error that never raise: a full disk, a closed pipe or terminal costs lines, and no run. No torch.

say("a line")                     prints it on standard output, if that can be written
Console(file=Unfailing(stream))   the same for what other code writes
with unfailing() as lost: ...     the same for all that is written inside
with on_standard_error(): ...     what is written inside on standard output goes to standard error
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO, cast


class Unfailing:
    """A stream whose `write` and `flush` raise nothing. Everything else is that of the stream below it.

    error: the first error, None if everything was written.
    """

    def __init__(self, stream: TextIO | Any):
        self._stream = stream
        self.error: OSError | ValueError | None = None

    def write(self, text: str) -> int:
        self._try(lambda: self._stream.write(text))
        return len(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        self._try(lambda: self._stream.flush())

    def _try(self, write: Callable[[], object]) -> None:
        if self._is_gone():
            return
        try:
            write()
        except (OSError, ValueError) as error:  # ValueError: the file was closed
            if isinstance(error, UnicodeError):
                raise
            self.error = self.error or error

    def _is_gone(self) -> bool:
        """Whether the reader of a pipe has gone. A disk that was full may have room again."""
        return isinstance(self.error, OSError) and self.error.errno == errno.EPIPE

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def say(line: str, file: TextIO | None = None) -> None:
    """Print a line, at once (default: on standard output)."""
    print(line, file=cast(TextIO, Unfailing(file or sys.stdout)), flush=True)


@contextmanager
def unfailing() -> Iterator[list[OSError | ValueError]]:
    """Inside, standard output and error raise nothing. The list has the error of the output at the end.

    A reader that has gone, as `head` does, is no error.
    """
    before, errors = (sys.stdout, sys.stderr), []
    out, err = map(Unfailing, before)
    sys.stdout, sys.stderr = cast(TextIO, out), cast(TextIO, err)
    try:
        yield errors
    finally:
        out.flush()
        err.flush()
        sys.stdout, sys.stderr = before
        for stream in (out, err):
            if stream.error is not None:
                _discard(stream)
        if out.error is not None and not out._is_gone():
            errors.append(out.error)


@contextmanager
def on_standard_error() -> Iterator[None]:
    """Inside, what this process and the processes that it starts write on standard output goes to standard error."""
    before = sys.stdout
    before.flush()
    kept = _diverted(before)
    sys.stdout = sys.stderr
    try:
        yield
    finally:
        sys.stderr.flush()
        sys.stdout = before
        if kept is not None:
            os.dup2(kept, before.fileno())
            os.close(kept)


def _diverted(stream: TextIO) -> int | None:
    """Let the file of a stream be that of standard error. Returns a duplicate of its own file; None for a stream
    without a file, as in a notebook."""
    try:
        file, errors = stream.fileno(), sys.stderr.fileno()
        kept = os.dup(file)
    except (AttributeError, OSError, ValueError):
        return None
    os.dup2(errors, file)
    return kept


def _discard(stream: Unfailing) -> None:
    """Send what is left in the buffers of a stream to nowhere, so that the end of the process does not try it again."""
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
    except (OSError, ValueError):  # a stream without a file, as in a notebook
        pass
