"""`sobench run`: the Hydra application."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from functools import partial

from sobench.cli.answer import JSON, Answer, as_asked, given


def main(words: Sequence[str]) -> int:
    """The command `sobench run`. Returns the exit code. Raises as `run`."""
    arguments = [word for word in words if word != JSON]
    as_json = len(arguments) < len(words)
    return given(partial(answer, arguments) if as_json else partial(run, arguments), "run", as_json=as_json)


def answer(arguments: Sequence[str]) -> Answer | int:
    """Make the runs. Returns what became of each; the exit code if there are none, because the command could not begin.

    Raises UsageError for an option that asks for something else than runs, and as `run`.
    """
    from sobench.config import advice
    from sobench.errors import UsageError
    from sobench.execution import task
    from sobench.results import run_documents, status

    advice.check(arguments)
    if options := [word for word in arguments if word.startswith("-") and word not in ("-m", "--multirun")]:
        raise UsageError(f"{JSON}: got {options[0]}, allowed: settings, and -m")
    code, runs = run(arguments), list(task.made.values())
    if not runs:
        return code
    return Answer(partial(run_documents.of_cells, *status.of_runs(runs)), as_asked, code)


def run(arguments: Sequence[str]) -> int:
    """Run Hydra's application with these arguments. Returns the exit code.

    Raises SobenchError with a message of one line.
    """
    import hydra

    from sobench.config import advice, grid, secrets
    from sobench.config.files import conf_dir
    from sobench.config.hydra_private import check_flags, readable_errors, version_base
    from sobench.execution import task

    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra's own handler would print several lines: have the error raised
    task.begin()
    advice.check(arguments)
    secrets.check_words(arguments)
    secrets.guard_interpolations()
    app = hydra.main(**version_base(), config_path=str(conf_dir()), config_name="config")(task.task)
    try:
        check_flags(arguments)
        with readable_errors(arguments):
            sys.argv = [sys.argv[0], *grid.for_hydra(arguments)]
            app()
    except SystemExit as end:  # argparse: a flag that Hydra does not know
        return end.code if isinstance(end.code, int) else 2
    return task.exit_code
