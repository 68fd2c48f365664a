"""A panel of a figure as compact SVG, from the artists that matplotlib would draw.

Scales, limits, ticks and their texts are matplotlib's. Paths are thinned and have whole coordinates, in halves of a
unit of the drawing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup, escape

from sobench.report.figures import overlap, tags
from sobench.report.figures.style import PALETTE
from sobench.report.web.thin import thinned

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.lines import Line2D

WIDTH, HEIGHT = 360, 232
"""The size of a drawing, in its own units: about its size on the screen."""
LEFT, RIGHT, TOP, BOTTOM = 46, 10, 10, 22
"""The margins of the box; the style sheet has them too."""
BAR = 62
"""The width that a scale of colours takes at the right."""
FINE = 2
"""Coordinates of paths are in such parts of a unit."""
FEW = 3
"""The number of points up to which each has its marker."""
OF_AREAS = 60, 3.0
"""The most points of the outline of an area, and the tolerance."""
THIN = 4.0
"""The height below which a band is hidden by its line."""
MARKERS = 2
"""The number of markers on a line of more points."""
SHAPES: dict[str, tuple[int, int, str]] = {
    "dot": (0, 0, "h0"),  # with a round cap
    "square": (0, 0, "h0"),  # with a square one
    "up": (0, -9, "l8 14h-16z"),
    "diamond": (0, -9, "l7 9-7 9-7-9z"),
    "plus": (-8, 0, "h16m-8-8v16"),
    "down": (0, 9, "l8-14h-16z"),
    "cross": (-6, -6, "l12 12m0-12l-12 12"),
    "bar": (0, -9, "v18"),
    "ring": (-7, 0, "a7 7 0 1 0 14 0a7 7 0 1 0-14 0z"),
    "star": (0, -11, "l3 7 8 1-6 5 2 8-7-4-7 4 2-8-6-5 8-1z"),
}
"""The shapes of markers: where a path begins, from the middle, and its steps. The first ones are those of methods."""
OF_METHODS = tuple(SHAPES)[:8]
_OF_MATPLOTLIB = {"o": "dot", "x": "cross", "^": "up", "*": "star"}
_DASH = 5
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class Style:
    """The look of an entry of the legend, as classes of the style sheet. colour: one that is not of the palette."""

    number: int
    classes: str
    shape: str
    colour: str = ""


def style_of(number: int, artist: Artist) -> Style:
    """The look of the entry `number` of a legend: the colour of its artist, and a shape that no other colour needs."""
    from matplotlib.colors import to_hex

    line: Any = artist
    colour = to_hex(line.get_color()).upper()
    marker = _OF_MATPLOTLIB.get(str(line.get_marker()), "")
    own = str(line.get_linestyle()) in ("None", "none", "")  # a mark without a line
    shape = marker if own and marker else OF_METHODS[number % len(OF_METHODS)]
    known = [one.upper() for one in PALETTE]
    classes = f"m m{number}" + (f" p{known.index(colour)}" if colour in known else "")
    classes += f" d{number // len(PALETTE) % 4}" if number >= len(PALETTE) else ""
    return Style(number, classes, shape, "" if colour in known else colour.lower())


@dataclass
class _Sheet:
    """The box of a panel's axes in the drawing. width, height: its size, in units."""

    axes: Axes
    width: int
    height: int

    def coordinates(self, display: np.ndarray) -> np.ndarray:
        """The places of pixels of matplotlib's figure [points, 2], in fine units; far outside they end at the rim."""
        inside = self.axes.transAxes.inverted().transform(np.asarray(display, dtype=float).reshape(-1, 2))
        fine = np.column_stack([inside[:, 0] * self.width, (1 - inside[:, 1]) * self.height]) * FINE
        far = np.array([self.width, self.height]) * FINE
        return np.clip(fine, -far, 2 * far)


def panel(axes: Axes, styles: Mapping[str, Style], ids: Iterator[int], label: str) -> Markup:
    """The drawing of a panel. styles: by the owner of an artist, see `tags`. ids: numbers for the ids of the page.

    label: what the drawing shows, for those who cannot see it.
    """
    for limits in (axes.get_xlim, axes.get_ylim):  # matplotlib scales the axes when it is asked
        limits()
    bar = next((artist for artist in [*axes.collections, *axes.images] if getattr(artist, "colorbar", None)), None)
    width = WIDTH - LEFT - RIGHT - (BAR if bar else 0)
    sheet, clip = _Sheet(axes, width, HEIGHT - TOP - BOTTOM), f"c{next(ids)}"
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(label)}">',
        f'<clipPath id="{clip}"><path d="M-6-6h{width * FINE + 12}v{sheet.height * FINE + 12}H-6z"/></clipPath>',
        *_ticks(sheet),
        f'<g class="h"><g clip-path="url(#{clip})">',
        *_background(sheet),
        *_owned(sheet, styles, clipped=True),
        "</g>",
        *_owned(sheet, styles, clipped=False),
        "</g>",
        *_texts(sheet),
        *(_colour_bar(sheet, bar, f"g{next(ids)}") if bar else ()),
        "</svg>",
    ]
    return Markup("".join(parts))


def swatch(style: Style, kind: str = "line") -> Markup:
    """The line and the marker of an entry of a legend."""
    line = '<path d="M0 12h52"/>' if kind == "line" else ""
    return Markup(f'<svg class="w {style.classes}"{_colour(style)}>{line}{_marks(style.shape, [(26, 12)])}</svg>')


# Paths


def path(points: np.ndarray, closed: bool = False) -> str:
    """The path through whole coordinates [points, 2]: "M0 5l3-2 4 1"."""
    (x, y), steps = points[0], np.diff(points, axis=0)
    text = f"M{_numbers((x, y))}"
    if len(steps):
        text += f"l{_numbers(steps.ravel())}"
    return text + ("z" if closed else "")


def _numbers(values: Iterable[int]) -> str:
    """ "3-2 4": a minus sign needs no blank before it."""
    return " ".join(str(int(value)) for value in values).replace(" -", "-")


def _pieces(points: np.ndarray) -> list[np.ndarray]:
    """The parts of a line [points, 2] between its gaps."""
    gaps = np.flatnonzero(~np.isfinite(points).all(axis=1))
    return [part for part in (p[np.isfinite(p).all(axis=1)] for p in np.split(points, gaps)) if len(part)]


def _line(sheet: _Sheet, line: Line2D) -> list[np.ndarray]:
    """The thinned pieces of a line, in fine units."""
    points = np.column_stack([np.asarray(values, dtype=float) for values in line.get_data()])
    with np.errstate(all="ignore"):
        display = line.get_transform().transform(points)
    return [thinned(sheet.coordinates(piece)) for piece in _pieces(np.ma.filled(display, np.nan))]


def _areas(sheet: _Sheet, artist: Any, least: float = 0.0) -> Iterator[tuple[str, str]]:
    """The areas of a collection: each colour with its path. least: the height of the lowest area that is drawn."""
    from matplotlib.colors import to_hex

    colours = artist.get_facecolor()
    for place, shape in enumerate(artist.get_paths()):
        polygons = artist.get_transform().transform_path(shape).to_polygons(closed_only=False)
        places = [sheet.coordinates(polygon) for polygon in polygons if np.isfinite(polygon).all()]
        drawn = [thinned(points, *OF_AREAS) for points in places if _height(points) >= least]
        text = "".join(path(points, closed=True) for points in drawn if len(points) > 2)
        if text:
            yield to_hex(colours[place % len(colours)]), text


def _height(outline: np.ndarray) -> float:
    """The largest height of a band. Its outline [points, 2] runs along one edge and back along the other."""
    turn = int(outline[:, 0].argmax())
    there, back = outline[: turn + 1], outline[turn:][::-1]
    return float(np.abs(there[:, 1] - np.interp(there[:, 0], *back.T)).max()) if len(there) and len(back) else 0.0


# What has no owner: contours, matrices, zero lines


def _background(sheet: _Sheet) -> Iterator[str]:
    from matplotlib.collections import PathCollection
    from matplotlib.contour import QuadContourSet

    for image in sheet.axes.images:
        yield from _matrix(sheet, image)
    for artist in sheet.axes.collections:
        if isinstance(artist, QuadContourSet) and artist.filled:
            for colour, text in _areas(sheet, artist):
                yield f'<path class="f" fill="{colour}" d="{text}"/>'
        elif isinstance(artist, PathCollection):
            yield from _dots(sheet, artist)
    for line in sheet.axes.lines:
        if not tags.owner_of(line):
            yield from _free_line(sheet, line)


def _matrix(sheet: _Sheet, image: Any) -> Iterator[str]:
    """A rectangle for each entry of a matrix."""
    from matplotlib.colors import to_hex

    values = np.ma.filled(np.ma.masked_invalid(image.get_array()), np.nan)
    for row, column in np.argwhere(np.isfinite(values)):
        corners = np.array([[column - 0.5, row - 0.5], [column + 0.5, row + 0.5]])
        (x, y), (right, low) = np.round(sheet.coordinates(sheet.axes.transData.transform(corners))).astype(int)
        colour = to_hex(image.cmap(image.norm(values[row, column])))
        yield f'<path fill="{colour}" d="M{x} {min(y, low)}h{right - x}v{abs(low - y)}H{x}z"/>'


def _dots(sheet: _Sheet, artist: Any) -> Iterator[str]:
    from matplotlib.colors import to_hex

    artist.update_scalarmappable()
    colours = artist.get_facecolor()
    places = np.round(sheet.coordinates(artist.get_offset_transform().transform(artist.get_offsets()))).astype(int)
    for place, (x, y) in enumerate(places):
        yield f'<circle cx="{x}" cy="{y}" r="10" fill="{to_hex(colours[place % len(colours)])}"/>'


def _free_line(sheet: _Sheet, line: Line2D) -> Iterator[str]:
    """A line, or marks, of no method: the zero line, the start of a trajectory, the lowest place of a landscape."""
    marker = _OF_MATPLOTLIB.get(str(line.get_marker()))
    if marker:
        shape = "ring" if str(line.get_markerfacecolor()) == "none" else marker
        for piece in _line(sheet, line):
            yield _marks(shape, piece)
    elif str(line.get_marker()) in ("None", "none", ""):
        yield from (f'<path class="z" d="{path(piece)}"/>' for piece in _line(sheet, line) if len(piece) > 1)


# What belongs to a method


def _owned(sheet: _Sheet, styles: Mapping[str, Style], *, clipped: bool) -> Iterator[str]:
    """A group for each style, of the areas and lines inside the box, or of the marks that may lie on its frame."""
    by_style: dict[int, list[Artist]] = {}
    for artist in [*sheet.axes.collections, *sheet.axes.lines]:
        style = styles.get(tags.owner_of(artist))
        if style and (tags.kind_of(artist) != tags.END) == clipped:
            by_style.setdefault(style.number, []).append(artist)
    together = overlap.places(sheet.axes) if clipped else {}
    for style in {style.number: style for style in styles.values()}.values():
        drawn = "".join(
            text for artist in by_style.get(style.number, ()) for text in _drawn(sheet, artist, style, together)
        )
        if drawn:
            yield f'<g class="{style.classes}"{_colour(style)}>{drawn}</g>'


def _drawn(sheet: _Sheet, artist: Any, style: Style, together: Mapping[Any, tuple[int, int]]) -> Iterator[str]:
    """The elements of one artist of a method."""
    kind = tags.kind_of(artist)
    if kind == tags.BAND:
        yield from (f'<path class="b" d="{text}"/>' for _, text in _areas(sheet, artist, least=THIN))
    elif kind == tags.BAR and hasattr(artist, "get_segments"):
        ends = [sheet.axes.transData.transform(segment) for segment in artist.get_segments()]
        yield "".join(f'<path d="{path(np.round(sheet.coordinates(end)).astype(int))}"/>' for end in ends)
    elif kind == tags.END:
        shape = _OF_MATPLOTLIB.get(str(artist.get_marker()), "cross")
        yield from (_marks(shape, piece) for piece in _line(sheet, artist))
    elif kind in (tags.LINE, tags.DIVERGED, tags.PUBLISHED):
        pieces = _line(sheet, artist)
        place, many = together.get(artist, (0, 1))
        look = {tags.DIVERGED: ' class="a"', tags.PUBLISHED: ' class="o"'}.get(kind, "")
        if place:
            dashes = f"{_DASH * FINE} {(many - 1) * _DASH * FINE}"
            look = f' style="stroke-dasharray:{dashes};stroke-dashoffset:{(many - place) * _DASH * FINE}"'
        yield from (f'<path{look} d="{path(piece)}"/>' for piece in pieces if len(piece) > 1)
        if kind == tags.LINE:
            yield _marks(style.shape, _marked(pieces, style.number))


def _marked(pieces: Sequence[np.ndarray], number: int) -> np.ndarray:
    """The points of a line that have a marker: all of a few, else some, at other places for each method."""
    points = np.concatenate(pieces) if pieces else np.empty((0, 2), dtype=int)
    if len(points) <= FEW:
        return points
    shift = 0.2 + 0.6 * (number * 0.38 % 1)
    low, high = points[0, 0], points[-1, 0]
    wanted = low + (np.arange(MARKERS) + shift) / MARKERS * (high - low)
    return points[sorted({int(np.abs(points[:, 0] - x).argmin()) for x in wanted})]


def _marks(shape: str, points: Iterable[Sequence[int]]) -> str:
    """A path with a marker at each point."""
    dx, dy, steps = SHAPES[shape]
    text = "".join(f"M{_numbers((x + dx, y + dy))}{steps}" for x, y in points)
    look = {"dot": "kd", "square": "ks"}.get(shape, "k" if steps.endswith("z") else "kl")
    return f'<path class="{look}" d="{text}"/>' if text else ""


def _colour(style: Style) -> str:
    return f' style="--c:{style.colour}"' if style.colour else ""


# Axes, texts and scales of colours


def _ticks(sheet: _Sheet) -> Iterator[str]:
    """The lines of the grid and the numbers on both axes."""
    low = TOP + sheet.height
    xs = [(LEFT + share * sheet.width, text) for share, text in _shares(sheet, sheet.axes.xaxis, 0)]
    ys = [(TOP + (1 - share) * sheet.height, text) for share, text in _shares(sheet, sheet.axes.yaxis, 1)]
    yield f'<path class="g" d="{"".join(f"M{LEFT} {y:.0f}h{sheet.width}" for y, _ in ys)}"/>'
    notches = "".join(f"M{x:.0f} {low}v4" for x, _ in xs)
    yield f'<path class="z" d="M{LEFT} {low}h{sheet.width}{notches}"/>'
    labels = sheet.axes.get_xticklabels()
    if labels and labels[0].get_rotation():
        turns = [f"translate({x:.0f} {low + 10})rotate(-35)" for x, _ in xs]
        texts = [f'<text transform="{turn}">{escape(text)}</text>' for turn, (_, text) in zip(turns, xs)]
        yield f'<g class="u">{"".join(texts)}</g>'
    else:
        texts = "".join(f'<text x="{x:.0f}">{escape(text)}</text>' for x, text in xs)
        yield f'<g class="t">{texts}</g>'
    texts = "".join(f'<text y="{y:.0f}">{escape(text)}</text>' for y, text in ys)
    yield f'<g class="y">{texts}</g>'


def _shares(sheet: _Sheet, axis: Axis, dimension: int) -> list[tuple[float, str]]:
    """The place of each tick in view, as a share of the side of the box, and its text."""
    if not axis.get_major_ticks() or not axis.get_major_ticks()[0].label1.get_visible():
        return []
    places = np.asarray(axis.get_majorticklocs(), dtype=float)
    texts = axis.get_major_formatter().format_ticks(places.tolist())
    offset = axis.get_major_formatter().get_offset()
    points = np.zeros((len(places), 2))
    points[:] = [sheet.axes.get_xlim()[0], sheet.axes.get_ylim()[0]]
    points[:, dimension] = places
    inside = sheet.axes.transAxes.inverted().transform(sheet.axes.transData.transform(points))[:, dimension]
    found = [(share, plain(text)) for share, text in zip(inside, texts) if -1e-6 <= share <= 1 + 1e-6 and text]
    return [*found[:-1], (found[-1][0], f"{found[-1][1]} {plain(offset)}")] if offset and found else found


def _text(x: float, y: float, text: str) -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}">{escape(text)}</text>'


def _texts(sheet: _Sheet) -> Iterator[str]:
    """The remarks inside the box, in its middle."""
    for remark in sheet.axes.texts:
        for place, text in enumerate(plain(remark.get_text()).split("\n")):
            middle = LEFT + sheet.width / 2, TOP + sheet.height / 2 + 14 * place
            yield f'<g class="i">{_text(*middle, text)}</g>'


def _colour_bar(sheet: _Sheet, artist: Any, name: str) -> Iterator[str]:
    """The scale of the colours of contours or of a matrix, at the right of the box."""
    from matplotlib.colors import to_hex

    bar, x = artist.colorbar, LEFT + sheet.width + 12
    low, high = sorted(bar.ax.get_ylim())
    places = bar.ax.transAxes.inverted().transform
    stops = np.linspace(1, 0, 9)
    at = bar.ax.transData.inverted().transform(bar.ax.transAxes.transform([[0.5, stop] for stop in stops]))[:, 1]
    colours = [to_hex(artist.cmap(artist.norm(np.clip(value, low, high)))) for value in at]
    yield f'<linearGradient id="{name}" x2="0" y2="1">'
    yield "".join(f'<stop offset="{1 - stop:g}" stop-color="{colour}"/>' for stop, colour in zip(stops, colours))
    yield f'</linearGradient><path fill="url(#{name})" d="M{x} {TOP}h10v{sheet.height}h-10z"/>'
    for place, text in zip(bar.get_ticks(), bar.ax.yaxis.get_major_formatter().format_ticks(bar.get_ticks())):
        share = places(bar.ax.transData.transform([[0, place]]))[0, 1]
        if -0.01 <= share <= 1.01:
            yield _text(x + 14, TOP + (1 - share) * sheet.height + 3.5, plain(text))


def plain(text: str) -> str:
    """A text of matplotlib without its formulas: "3×10⁻⁶" of "$3\\times10^{-6}$"."""
    text = re.sub(r"\\mathdefault\{((?:[^{}]|\{[^{}]*\})*)\}", r"\1", text)
    text = re.sub(r"\^\{([-0-9]+)\}", lambda power: power[1].translate(_SUPERSCRIPTS), text)
    return re.sub(r"(?<!\\)\$", "", text).replace("\\times", "×").replace(r"\$", "$").replace("−", "-")
