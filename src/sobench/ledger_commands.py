"""The arguments of the commands about runs that are there, or are to be: retry, gc, plan."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from sobench.gc import OLDER, gc
from sobench.plan import plan
from sobench.retry import CHOICES, DEFAULT, retry


def add_parsers(add: Callable[..., argparse.ArgumentParser], overrides: dict) -> None:
    """Register them; `add(func, text, **positionals)` returns a parser, `overrides` describes the settings."""
    parser = add(retry, "make failed runs again, and keep what was there in runs/.old", experiment=dict(nargs="?", default=None),
                 overrides=overrides)
    for flag, status in CHOICES.items():
        text = f"those that are {status}" + (" (without any flag: " + ", ".join(DEFAULT) + ")" if status == DEFAULT[0] else "")
        parser.add_argument(f"--{flag.replace('_', '-')}", action="store_true", help=text)
    parser = add(gc, "list what runs that were cut off have left, and delete it with --yes",
                 overrides={**overrides, "help": "runs=DIR, the folder of the runs"})
    parser.add_argument("--yes", action="store_true", help="delete what is listed")
    parser.add_argument("--older-than", default=OLDER, metavar="AGE", help=f"of what `retry` put aside (default: {OLDER})")
    parser = add(plan, "what a sweep has to do, and how long it takes by a few measured steps of each cell",
                 experiment=dict(metavar="EXPERIMENT"), overrides=overrides)
    parser.add_argument("--budget", metavar="TIME", help="choose the runs that fit into 90s, 15m, 4h, 1h30m or 2d")
