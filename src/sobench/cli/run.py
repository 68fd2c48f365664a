"""`sobench run`: the Hydra application."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence


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
    task.exit_code = 0
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
