"""The directive `gallery`: every committed figure, small, with a link to its report."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any
from urllib.parse import quote

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from sobench.report.again import WITHDRAWN


def setup(app: Any) -> dict[str, Any]:
    app.add_directive("gallery", Gallery)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


class Gallery(SphinxDirective):
    """A section for each paper, with its figures in the order of their folders."""

    has_content = False

    def run(self) -> list[nodes.Node]:
        top = Path(self.env.srcdir)
        reports = sorted((top / "reports").rglob("figure.png"))
        by_paper = groupby(reports, lambda path: path.relative_to(top).parts[1])
        return [self._section(top, paper, list(figures)) for paper, figures in by_paper]

    def _section(self, top: Path, paper: str, figures: list[Path]) -> nodes.section:
        section = nodes.section("", nodes.title(text=paper), ids=[f"gallery-{paper}"], names=[])
        thumbnails = [thumbnail for figure in figures for thumbnail in self._thumbnails(top, figure)]
        section += nodes.container("", *thumbnails, classes=["gallery"])
        return section

    def _thumbnails(self, top: Path, figure: Path) -> Iterator[nodes.Node]:
        """The figure in a link to the report beside it, and its caption; nothing if that is not on the site."""
        page = figure.with_name("report.md")
        if str(page.relative_to(top).with_suffix("")) not in self.env.found_docs:
            return
        self.env.note_dependency(str(page))
        first, _, rest = page.read_text("utf-8").partition("\n")
        title = first.removeprefix("# ").strip() + (" (withdrawn)" if WITHDRAWN in rest else "")
        folder = figure.parent.relative_to(top / "reports")
        image = nodes.image(uri=f"/{figure.relative_to(top)}", alt=f"Figure of {folder}: {title}")
        link = nodes.reference("", "", image, refuri=self._uri(page.relative_to(top)), internal=True)
        yield nodes.container(
            "", link, nodes.paragraph(text=title), nodes.paragraph("", "", nodes.literal(text=str(folder)))
        )

    def _uri(self, page: Path) -> str:
        """The address of a page of the site, from that of this one."""
        here = Path(self.env.docname).parent
        return quote(os.path.relpath(page.with_suffix(".html"), here))
