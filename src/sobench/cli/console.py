"""The console of the commands that print tables: lines are wrapped and padded on a terminal only."""

from __future__ import annotations

import os
import re
import sys
from typing import TYPE_CHECKING, Any, TextIO, cast

if TYPE_CHECKING:
    from rich.console import Console

UNLIMITED = 1000
"""Columns where the output is no terminal: a file or a pipe."""


class Unpadded:
    """A stream that drops the spaces at the end of each line. Everything else is that of the stream below it.

    rich fills lines with spaces up to the width of the console or the column.
    """

    def __init__(self, stream: TextIO):
        self._stream = stream

    def write(self, text: str) -> int:
        self._stream.write(re.sub(r" +(?=\n)", "", text))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def console() -> Console:
    """A console on standard output, as wide as its terminal; one that wraps and pads nothing for a file or a pipe.

    With COLUMNS in the environment, lines are as wide as it says everywhere.
    """
    from rich.console import Console

    if sys.stdout.isatty():
        return Console()
    width = None if "COLUMNS" in os.environ else UNLIMITED
    return Console(width=width, file=cast(TextIO, Unpadded(sys.stdout)))
