"""The process that mirrors run directories to wandb: `python -m sobench.loggers.wandb_main SETTINGS`, messages on stdin.

    follow   mirror each run while it is made, until its summary is there or the next run begins
    sync     mirror each run that is not mirrored whole, and each report
    verify   compare the runs with what is mirrored
"""

from __future__ import annotations

import json
import os
import sys

from sobench.loggers.base import one_line
from sobench.loggers.wandb_worker import Worker


def main() -> None:
    worker = Worker(json.loads(sys.argv[1]))
    try:
        from sobench.loggers import wandb_verbs  # and wandb itself

        code = wandb_verbs.VERBS[worker.settings["verb"]](worker)
    except (Exception, SystemExit) as error:
        worker.give_up(one_line(error))
    os._exit(code)


if __name__ == "__main__":
    main()
