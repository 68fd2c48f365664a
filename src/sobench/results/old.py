"""The old files of runs that are made again: moved to runs/.old, never deleted. No torch."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from sobench.errors import Failure

OLD = ".old"
"""Folder of the old files, under the folder of the runs."""

STAMP = "%Y-%m-%dT%H-%M-%S"
"""The name of a folder of old files: when they were put there."""


def move_to_old(root: Path, slug: str, resumes: bool = False, still: Callable[[], bool] = lambda: True) -> bool:
    """Move a run directory to runs/.old/<slug>/<time>. Returns False, without a move, if a process is running the run.

    still: whether the reason for the move is there, asked when no other process can change the run any more.

    resumes: copy the directory there instead, and delete its result only, so that the run resumes from its checkpoint.
    Raises Failure.
    """
    from filelock import FileLock, Timeout

    from sobench.system.heartbeat import holder

    source, shelf = root / slug, root / OLD / slug
    stamp = time.strftime(STAMP)
    names = [stamp, *(f"{stamp}.{number}" for number in range(1, 100))]
    if holder(source / "holder.json", source / "lock"):
        return False
    try:
        with FileLock(source / "lock", timeout=0.2):
            if not still():
                return False
            shelf.mkdir(parents=True, exist_ok=True)
            target = next(shelf / name for name in names if not (shelf / name).exists())
            if resumes:
                shutil.copytree(source, target)
                (source / "summary.json").unlink(missing_ok=True)
            else:
                os.rename(source, target)
            return True
    except Timeout:
        return False
    except OSError as error:
        raise Failure(f"runs: cannot move {source}: {error.strerror or error}") from error
