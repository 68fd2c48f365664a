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

STYLE = """
.gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(15rem, 1fr)); gap: 1.5rem; }
.gallery figure { margin: 0; }
.gallery img { height: 11rem; width: 100%; object-fit: contain; background: white; border-radius: 0.25rem; }
.gallery p { margin: 0.25rem 0 0; font-size: 0.85rem; overflow-wrap: anywhere; }
"""


def setup(app: Any) -> dict[str, Any]:
    app.add_directive("gallery", Gallery)
    app.connect("builder-inited", _write_style)
    app.add_css_file("gallery.css")
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _write_style(app: Any) -> None:
    folder = Path(app.outdir) / "_static"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "gallery.css").write_text(STYLE, encoding="utf-8")


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
        """The figure in a link to the report beside it, and its caption; nothing for a figure without a report."""
        page = figure.with_name("report.md")
        if not page.is_file():
            return
        self.env.note_dependency(str(page))
        title = page.read_text("utf-8").partition("\n")[0].removeprefix("# ").strip()
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
