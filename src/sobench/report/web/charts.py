"""The figure of a page: its panels as drawings, those of one quantity together, and a legend that chooses methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING

from markupsafe import Markup

from sobench.report.schema.panels import AnyPanel, Panel
from sobench.report.web.svg import Style, panel, plain, style_of, swatch

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

WORDS = {
    "step": "steps",
    "epoch": "epochs",
    "seconds": "seconds",
    "total_seconds": "seconds with warm start",
    "process_seconds": "CPU seconds",
    "work": "work",
    "cost": "cost",
    "total_cost": "cost with warm start",
}
"""The axes that a reader can choose between, in a word."""


@dataclass(frozen=True)
class Chart:
    """A drawing with its title and the texts at its axes. axis: the name of its x-axis."""

    title: str
    y: str
    x: list[str]
    axis: str
    svg: Markup


@dataclass(frozen=True)
class Entry:
    """An entry of the legend."""

    number: int
    text: str
    swatch: Markup


@dataclass(frozen=True)
class Charts:
    """A figure. groups: the drawings of each quantity, one for each axis. axes: those between which a reader can
    choose, by name. note: about methods without a line."""

    groups: list[list[Chart]]
    legend: list[Entry]
    axes: dict[str, str]
    note: str = ""


def charts(
    panels: Sequence[tuple[AnyPanel | None, Axes]],
    entries: Mapping[str, Artist],
    texts: Mapping[str, str],
    note: str = "",
) -> Charts:
    """The figure of these axes, each with its panel. entries: the artists of the legend, by their text.

    texts: by the owner of an artist (see `figures.tags`), the text of its entry, where the owner is not the text.
    """
    import matplotlib

    from sobench.report.figures.style import RC

    styles = {text: style_of(number, artist) for number, (text, artist) in enumerate(entries.items())}
    by_owner: dict[str, Style] = styles | {owner: styles[text] for owner, text in texts.items() if text in styles}
    ids, groups = count(), dict[str, list[Chart]]()
    with matplotlib.rc_context(RC):
        for place, (spec, axes) in enumerate(panels):
            title, x, y = (plain(text) for text in (axes.get_title(loc="left"), axes.get_xlabel(), axes.get_ylabel()))
            label = f"{title or y} against {x}".replace("\n", " ")
            axis = spec.x if isinstance(spec, Panel) else ""
            chart = Chart(title, y.replace("\n", " "), x.split("\n"), axis, panel(axes, by_owner, ids, label))
            groups.setdefault(_quantity(spec, place), []).append(chart)
    legend = [Entry(style.number, text, _swatch(style, entries[text])) for text, style in styles.items()]
    several: list[str] = [chart.axis for group in groups.values() if len(group) > 1 for chart in group]
    return Charts(list(groups.values()), legend, {axis: WORDS.get(axis, axis) for axis in dict.fromkeys(several)}, note)


def _quantity(spec: AnyPanel | None, place: int) -> str:
    """What a panel shows, without its axis; of other panels than curves, their place."""
    if not isinstance(spec, Panel):
        return str(place)
    return repr((spec.y, spec.rows, spec.where, spec.smooth, spec.mean_by, spec.methods, spec.scale, spec.published))


def _swatch(style: Style, artist: Artist) -> Markup:
    line = str(getattr(artist, "get_linestyle", str)())
    return swatch(style, "mark" if line in ("None", "none", "") else "line")
