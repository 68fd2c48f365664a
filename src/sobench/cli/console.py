"""The console of the commands that print tables: lines are wrapped on a terminal only."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

UNLIMITED = 1000
"""Columns where the output is no terminal: a file or a pipe."""


def console() -> Console:
    """A console on standard output, as wide as its terminal; one that wraps nothing for a file or a pipe."""
    from rich.console import Console

    wraps = sys.stdout.isatty() or "COLUMNS" in os.environ
    return Console() if wraps else Console(width=UNLIMITED)
