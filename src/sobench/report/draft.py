"""Files that are written together: all are made in a draft folder first, then each is moved to its place."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from sobench.errors import Failure
from sobench.system import heartbeat

DRAFT = ".draft-"
"""The beginning of the name of a folder of new files. In it, while its process lives, are holder.json and its lock."""


@contextmanager
def drafted(out: Path, names: Iterable[str]) -> Iterator[Path]:
    """A folder for new files, which replace those in `out` when the block ends.

    names: all that the files can have. A file of such a name that is not made again is deleted, and so are the drafts
    of processes that were killed. Raises Failure if the files cannot be written; then those in `out` are as they were.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        for left in out.glob(f"{DRAFT}*"):
            if _is_abandoned(left):
                shutil.rmtree(left, ignore_errors=True)
        draft = Path(tempfile.mkdtemp(prefix=DRAFT, dir=out))
        try:
            holder, lock = _holder_of(draft)
            with FileLock(lock):
                hold = heartbeat.Hold(holder)
                with heartbeat.beating(holder, stands=hold.stands):
                    yield draft
                    for name in names:
                        if (draft / name).exists():
                            os.replace(draft / name, out / name)
                        else:
                            (out / name).unlink(missing_ok=True)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    except OSError as error:
        raise Failure(f"reports: cannot write {error.filename or out}: {error.strerror or error}") from error


def _holder_of(draft: Path) -> tuple[Path, Path]:
    """The description of the process that makes a draft, and its lock."""
    return draft / "holder.json", draft / "lock"


def _is_abandoned(draft: Path) -> bool:
    """Whether the process that made a draft is dead. A draft without a holder may be one that only begins."""
    if draft.is_symlink() or not draft.is_dir():
        return False
    holder, lock = _holder_of(draft)
    age = heartbeat.file_system_time(draft.parent) - draft.stat().st_mtime
    return (holder.exists() or age > heartbeat.STALE) and heartbeat.holder(holder, lock) is None
