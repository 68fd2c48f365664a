"""A configuration folder of a test's own: that of sobench, with more files."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from sobench.config import files


def add_to_conf(folder: Path, monkeypatch: pytest.MonkeyPatch, more: Mapping[str, str]) -> None:
    """Use `folder` as conf/ for the test: links to sobench's files, and {path: text} of `more`."""
    for path in files.conf_dir().rglob("*"):
        if path.is_file():
            link = folder / path.relative_to(files.conf_dir())
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(path)
    for name, text in more.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    monkeypatch.setattr(files, "conf_dir", lambda: folder)
