"""The directive `settings`: a section for each optimizer, with its settings, as `sobench show` prints them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from sobench.cli.show import HEAD, preset_of, settings
from sobench.config import files, registry


def setup(app: Any) -> dict[str, Any]:
    app.add_directive("settings", Settings)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


class Settings(SphinxDirective):
    """The members of one group of the configuration that have a file in conf/."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        group = self.arguments[0]
        folder = files.conf_dir() / group
        names = sorted(str(file.relative_to(folder).with_suffix("")) for file in folder.rglob("*.yaml"))
        for name in names:
            self.env.note_dependency(str(folder / f"{name}.yaml"))
        return [self._section(group, name) for name in names]

    def _section(self, group: str, name: str) -> nodes.section:
        section = nodes.section("", nodes.title(text=name), ids=[f"{group}-{name}".replace("/", "-")], names=[])
        base = preset_of(group, name)
        about = files.about(f"{group}/{name}") or registry.summary(registry.find(registry.KINDS[group], name))
        section += nodes.paragraph(text=about + (f" A preset of {base}." if base else ""))
        if rows := settings(group, name):
            section += _table(rows)
        return section


def _table(rows: Sequence[Sequence[str]]) -> nodes.table:
    """The rows below HEAD; the first two columns are code."""
    columns = nodes.tgroup("", *(nodes.colspec(colwidth=1) for _ in HEAD), cols=len(HEAD))
    columns += nodes.thead("", _row([nodes.Text(word) for word in HEAD]))
    columns += nodes.tbody("", *(_row([*_codes(row[:2]), *map(nodes.Text, row[2:])]) for row in rows))
    return nodes.table("", columns)


def _codes(words: Sequence[str]) -> list[nodes.Node]:
    return [nodes.literal(text=word) for word in words]


def _row(cells: Sequence[nodes.Node]) -> nodes.row:
    return nodes.row("", *(nodes.entry("", nodes.paragraph("", "", cell)) for cell in cells))
