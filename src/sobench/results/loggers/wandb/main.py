"""The mirror process: `python -m sobench.results.loggers.wandb.main SETTINGS`, with messages on standard input.

SETTINGS is a JSON object: `action`, the `folder` of wandb's files, and mode, project, entity and timeout of
conf/logger/wandb.
"""

from __future__ import annotations

import json
import os
import sys

from sobench.results.loggers.base import reason_of
from sobench.results.loggers.wandb.worker import Worker


def main() -> None:
    settings = json.loads(sys.argv[1])
    if settings["lock"]:
        _detach()
    worker = Worker(settings)
    try:
        from sobench.results.loggers.wandb import actions  # imports wandb

        code = actions.ACTIONS[worker.settings["action"]](worker)
    except (Exception, SystemExit) as error:
        worker.give_up(reason_of(error))
    worker.end(code)


def _detach() -> None:
    """Go on in a process that is no descendant of the run's: a launcher kills its workers with all of theirs."""
    if os.fork():
        os._exit(0)


if __name__ == "__main__":
    main()
