"""A configuration folder of a test's own, searched before that of sobench."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from sobench.config import files


def add_to_conf(folder: Path, monkeypatch: pytest.MonkeyPatch, more: Mapping[str, str]) -> None:
    """Write the files {path: text} into `folder`, and have it searched during the test."""
    for name, text in more.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    monkeypatch.setenv(files.OWN, str(folder))
