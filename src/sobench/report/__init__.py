"""Makes the artifacts of a paper from results: its table, its figure, and a verdict on each of its claims.

A report is a file, conf/report/<paper>/<artifact>.yaml, whose keys `sobench.report.schema.spec` defines. Reading
reports needs neither pandas nor matplotlib; `write` imports both when it is called.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sobench.report.schema.catalogue import read, reports
from sobench.report.schema.spec import Report

if TYPE_CHECKING:
    from sobench.config.run import Run
    from sobench.report.looks import Looks

__all__ = ["Report", "read", "reports", "write"]


def write(
    report_id: str,
    runs: Sequence[Run],
    runs_root: Path,
    out: Path,
    *,
    settings: Sequence[str] | None = None,
    looks: Looks | None = None,
) -> list[Path]:
    """Write the report into the folder `out`; the files written. See `sobench.report.writer.write`."""
    from sobench.report import writer

    return writer.write(report_id, runs, runs_root, out, settings=settings, looks=looks)
