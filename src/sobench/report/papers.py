"""The papers of the reports, with authors, title and year: conf/report/papers.yaml."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from sobench.config import files
from sobench.config.schema import build, key
from sobench.report.schema.values import words


@dataclass(frozen=True)
class Paper:
    """published: where, and the year."""

    authors: str = key(words)
    title: str = key(words)
    published: str = key(words)


@cache
def papers() -> dict[str, Paper]:
    """The papers, by the first part of the ids of their reports."""
    file = files.conf_dir() / "report/papers.yaml"
    found = files.read(file) if file.is_file() else {}
    return {name: build(Paper, about, f"conf/report/papers.yaml: {name}") for name, about in found.items()}
