"""`sobench open`: show the page of a report, or the page of all reports, in the browser."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from pathlib import Path

from sobench.config.registry import suggestion
from sobench.errors import Failure, UsageError
from sobench.system.output import say

REPORTS = Path("reports")
OWN_DISPLAY = ("darwin", "win32")
"""The systems whose browser needs no variable that names a display."""
DISPLAYS = ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")
"""The variables of the environment of which one is set where a browser can show a page."""


def open_(args: argparse.Namespace) -> int:
    """Print the path of a page and show it. Raises UsageError for a name that is no report, Failure without a page."""
    from sobench.report.again import is_report

    page, place = _page(args.id)
    if not page.exists():
        flag = "--again" if is_report(page.parent) else "--overview"
        raise Failure(f"{page}: not written yet; write it with: sobench report {flag} {shlex.quote(str(page.parent))}")
    print(f"{page}{place}", flush=True)
    if not _shown(f"{page.resolve().as_uri()}{place}"):
        say("sobench: no display: the page is not shown; open this file in a browser", sys.stderr)
    return 0


def _page(given: str | None) -> tuple[Path, str]:
    """The page that a report or a folder has, and the place on it: that of an artifact with several reports is among
    all reports."""
    from sobench.report.web import NAME

    if given is None:
        return REPORTS / NAME, ""
    if Path(given).is_dir():
        return Path(given) / NAME, ""
    if Path(given).name == NAME and Path(given).is_file():
        return Path(given), ""
    folders = _folders(given)
    if len(folders) == 1:
        return folders[0] / NAME, ""
    return REPORTS / NAME, f"#{given.strip('/').replace('/', '-')}"


def _folders(name: str) -> list[Path]:
    """The folders of the reports of an artifact. Raises UsageError for a name that no report has."""
    from sobench.report import overview, reports
    from sobench.report.web.report_page import OWN

    by_name: dict[str, list[Path]] = {}
    for report in overview.written(REPORTS) if REPORTS.is_dir() else []:
        by_name.setdefault(report.artifact.removeprefix(OWN), []).append(report.folder)
    own = by_name.get(name.removeprefix(OWN))
    if own is None:
        if name in reports():
            raise UsageError(f"open: {name} has no report in {REPORTS}; write one with: sobench report {name}")
        raise UsageError(f"open: got {name!r}, {suggestion(name, by_name, 'sobench list reports')}")
    return own


def _shown(address: str) -> bool:
    """Whether a browser was asked to show a page."""
    if sys.platform not in OWN_DISPLAY and not any(os.environ.get(name) for name in DISPLAYS):
        return False
    import webbrowser

    return webbrowser.open(address)
