"""The process that mirrors run directories to wandb: `python -m sobench.results.loggers.wandb.main SETTINGS`, messages on stdin.

follow   mirror each run while it is made, until its summary is there or the next run begins
sync     mirror each run that is not mirrored whole, and each report
verify   compare the runs with what is mirrored
"""

from __future__ import annotations

import json
import os
import sys

from sobench.results.loggers.base import one_line
from sobench.results.loggers.wandb.worker import Worker


def main() -> None:
    worker = Worker(json.loads(sys.argv[1]))
    try:
        from sobench.results.loggers.wandb import actions  # and wandb itself

        code = actions.VERBS[worker.settings["verb"]](worker)
    except (Exception, SystemExit) as error:
        worker.give_up(one_line(error))
    os._exit(code)


if __name__ == "__main__":
    main()
