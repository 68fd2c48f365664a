"""Git checkouts: the commit of a folder, and whether its files have changed since. No torch."""

from __future__ import annotations

import subprocess
from pathlib import Path


def commit(folder: Path, *paths: str) -> tuple[str, bool] | None:
    """The commit of the checkout that contains `folder`, and whether one of `paths` in it was changed or added since.

    paths: relative to the folder. None if no checkout contains the folder, or if git ignores it or is not installed.
    """
    try:
        commit = _git(folder, "rev-parse", "HEAD").strip()
        if subprocess.run(["git", "-C", str(folder), "check-ignore", "-q", "."], capture_output=True).returncode == 0:
            return None
        return commit, _git(folder, "status", "--porcelain", "--", *paths) != ""
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    """The output of a git command in a folder."""
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
