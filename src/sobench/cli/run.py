"""`sobench run`: the Hydra application, and its shell completion."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence


def run(words: Sequence[str]) -> int:
    """`sobench run`: Hydra's application, with its errors in one line."""
    import hydra

    from sobench.config import grid
    from sobench.config.files import conf_dir
    from sobench.config.hydra_private import readable_errors
    from sobench.execution import task

    os.environ["HYDRA_FULL_ERROR"] = "1"  # raise to us: its own handler prints several lines
    task.exit_code = 0
    app = hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="config")(task.task)
    try:
        with readable_errors(words):
            sys.argv = [sys.argv[0], *grid.for_hydra(words)]
            app()
    except SystemExit as end:  # argparse: a flag that Hydra does not know
        return end.code if isinstance(end.code, int) else 2
    return task.exit_code


def complete(words: Sequence[str]) -> int:
    """Shell completion, as Hydra has it, for `sobench run`."""
    line = os.environ.get("COMP_LINE", "")
    head, _, rest = line.partition(" run ")
    if rest or line.endswith(" run "):
        os.environ["COMP_LINE"] = f"{head} {rest}"
        os.environ["COMP_POINT"] = str(max(0, int(os.environ.get("COMP_POINT", len(line))) - len("run ")))
    return run(words)
