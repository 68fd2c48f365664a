"""The command line: `sobench COMMAND ...`. What trains nothing imports no torch."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import nullcontext

from sobench.cli import run
from sobench.errors import SobenchError
from sobench.system.interpreter import fast_exit, paused_gc

DESCRIPTION = "A benchmark harness for second-order optimization of neural networks."
READING = ("list", "status", "report")
"""Commands that read many objects and end soon. The others may run for days, or train: they need the garbage collector."""


def entry() -> None:
    """The console script. Errors of the arguments (SystemExit) and unexpected exceptions end as in any program."""
    fast_exit(main())


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 0 done, 1 something failed, 2 the command was wrong, 130 or 143 stopped by
    SIGINT or SIGTERM."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        if words[:1] == ["run"]:
            return run.run(words[1:])
        if words[:1] in (["-sc"], ["--shell-completion"]):
            return run.complete(words)
        args, more = parser().parse_known_args(words)
        if more and ("overrides" not in args or any(word.startswith("-") for word in more)):
            parser().error(f"unrecognized arguments: {' '.join(more)}")
        if more:  # settings behind a flag
            args.overrides += more
        with paused_gc() if words[0] in READING else nullcontext():
            return args.func(args)
    except SobenchError as error:
        print(f"sobench: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt as stop:
        print("sobench: stopped; the same command goes on from the last checkpoint", file=sys.stderr)
        return 143 if stop.args == ("SIGTERM",) else 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def parser() -> argparse.ArgumentParser:
    from sobench.cli import commands
    from sobench.cli.data import add_parser as add_data

    top = argparse.ArgumentParser(prog="sobench", description=DESCRIPTION)
    actions = top.add_subparsers(required=True, metavar="COMMAND")
    add = actions.add_parser
    train = add(
        "run", help="train: one run, or a sweep with -m", description="See `sobench run --help`.", add_help=False
    )
    train.set_defaults(func=lambda args: run.run([]))
    commands.add_parsers(actions)
    add_data(actions)
    return top
