"""The command line: one file a command."""

from sobench.cli.main import entry, main

__all__ = ["entry", "main"]
