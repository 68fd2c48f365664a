"""The mirror process: `python -m sobench.results.loggers.wandb.main SETTINGS`, with messages on standard input.

SETTINGS is a JSON object: `action`, the `folder` of wandb's files, and mode, project, entity and timeout of
conf/logger/wandb.
"""

from __future__ import annotations

import json
import sys

from sobench.results.loggers.base import reason_of
from sobench.results.loggers.wandb.worker import Worker


def main() -> None:
    worker = Worker(json.loads(sys.argv[1]))
    try:
        from sobench.results.loggers.wandb import actions  # imports wandb

        code = actions.ACTIONS[worker.settings["action"]](worker)
    except (Exception, SystemExit) as error:
        worker.give_up(reason_of(error))
    worker.end(code)


if __name__ == "__main__":
    main()
