"""Links to what a code host shows and the site does not: a folder, and pages outside the table of contents.

A link to a folder below reports/ goes to its report if it has one, and else to the part of the page of all reports on
its paper. Reports are pages of the site without a place in its table of contents: they are too many.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote

_LINK = re.compile(r"\]\(<?([^()<>\s]+|(?<=<)[^<>\n]+)>?\)")


def setup(app: Any) -> dict[str, Any]:
    app.connect("source-read", _resolve)
    app.connect("doctree-read", _outside_the_contents)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _outside_the_contents(app: Any, doctree: Any) -> None:
    name = app.env.docname
    if name.startswith("reports/") or name == "README":
        app.env.metadata[name]["orphan"] = True


def _resolve(app: Any, docname: str, source: list[str]) -> None:
    top = Path(app.srcdir)
    here = (top / docname).parent
    source[0] = _LINK.sub(lambda found: _of_folder(top, here, found), source[0])


def _of_folder(top: Path, here: Path, found: re.Match[str]) -> str:
    """The link as it is, or that to the page that stands for the folder."""
    folder = here / unquote(found[1])
    if ":" in found[1] or not folder.is_dir():
        return found[0]
    return f"](<{_page(top, folder.resolve())}>)"


def _page(top: Path, folder: Path) -> str:
    """The page of a folder, from the top: its only report, or the part of its paper on the page of all reports."""
    pages = sorted(folder.rglob("report.md")) or sorted(folder.rglob("tuning.md"))
    if len(pages) == 1:
        return f"/{pages[0].relative_to(top)}"
    return f"/reports/README.md#{folder.relative_to(top / 'reports').parts[0]}"
