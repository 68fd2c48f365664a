"""The command line: `sobench COMMAND ...`. A command that trains nothing imports no torch."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import nullcontext

import sobench
from sobench.cli import run
from sobench.cli.complete import COMPLETE, complete
from sobench.errors import SobenchError
from sobench.system.interpreter import fast_exit, paused_gc
from sobench.system.output import say, unfailing

DESCRIPTION = "A benchmark harness for second-order optimization of neural networks."
READING = ("list", "show", "status", "runs", "report", "open")
"""Commands that read many objects and end soon. The others train, or run for days: they need the garbage collector."""


def entry() -> None:
    """The console script. Errors of the arguments (SystemExit) and unexpected exceptions end as in any program."""
    fast_exit(main())


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns the exit code: 0 success, 1 something failed, 2 the command was wrong, 130 or 143 stopped by SIGINT or
    SIGTERM. Output that cannot be written ends no command; one line says so at the end, unless its reader has gone.
    """
    with unfailing() as errors:
        code = _main(list(sys.argv[1:] if argv is None else argv))
    for error in errors:
        reason = getattr(error, "strerror", None) or error
        say(f"sobench: standard output: {reason}; all else was done as without it", sys.stderr)
    return code or int(bool(errors))


def _main(arguments: list[str]) -> int:
    try:
        if arguments[:1] != [COMPLETE]:
            _say_what_is_replaced()
        if arguments[:1] == ["run"]:
            return run.run(arguments[1:])
        if arguments[:1] == [COMPLETE]:
            return complete(arguments[1], arguments[2], parser)
        args, more = parser().parse_known_args(arguments)
        if more and ("overrides" not in args or any(argument.startswith("-") for argument in more)):
            from sobench.config.advice import check_options

            for option in more:
                check_options(arguments[arguments.index(option) :][:2])
            parser().error(f"unrecognized arguments: {' '.join(more)}")
        if more:  # overrides behind a flag
            args.overrides += more
        with paused_gc() if arguments[0] in READING else nullcontext():
            return args.func(args)
    except SobenchError as error:
        print(f"sobench: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt as stop:
        print("sobench: stopped; repeat the command to resume", file=sys.stderr)
        return 143 if stop.args == ("SIGTERM",) else 130


def _say_what_is_replaced() -> None:
    """Say which files of sobench the user's own folder replaces. Raises UsageError for a wrong SOBENCH_CONF."""
    if not (os.environ.get("SOBENCH_CONF") or os.path.isdir("conf")):
        return
    from sobench.config import files

    if names := files.replaced():
        print(f"sobench: {files.own_conf_dir()} replaces sobench's own {', '.join(names)}", file=sys.stderr)


def parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    from sobench.cli import commands, data

    top = argparse.ArgumentParser(prog="sobench", description=DESCRIPTION)
    top.add_argument("--version", action="version", version=f"sobench {sobench.__version__}")
    subparsers = top.add_subparsers(required=True, metavar="COMMAND")
    train = subparsers.add_parser(
        "run", help="train: one run, or a sweep with -m", description="See `sobench run --help`.", add_help=False
    )
    train.set_defaults(func=lambda args: run.run([]))
    commands.add_parsers(subparsers)
    data.add_parser(subparsers)
    return top
