"""Lines that coincide are drawn in alternating dashes, so that each is seen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from sobench.report.figures.tags import LINE, kind_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

DASH = 5.0  # of a line's widths
SHARE = 0.5
"""Two lines coincide if they are closer than their width along at least this share of the shorter one."""
COLUMNS = 200


def alternate(axes: Axes) -> None:
    """Redraw the lines of methods that coincide: the longest is whole, and the others are dashes on it, one by one.

    To be called when the size of the axes and their limits are final.
    """
    for line, (place, many) in places(axes).items():
        marker: Any = line.get_markersize()
        line.set_markersize(marker + 2.0 * (many - 1 - place))
        line.set_zorder(line.get_zorder() + 0.01 * place)
        if place:
            line.set_linestyle(((many - place) * DASH, (DASH, (many - 1) * DASH)))
            line.set_dash_capstyle("butt")


def places(axes: Axes) -> dict[Line2D, tuple[int, int]]:
    """The lines of methods that coincide with others: the place of each among them, 0 for the longest, and their
    number."""
    lines = [line for line in axes.lines if kind_of(line) == LINE]
    paths, width = [_pixels(axes, line) for line in lines], _width(axes, lines)
    found: dict[Line2D, tuple[int, int]] = {}
    for together in groups(paths, width):
        ordered = sorted(together, key=lambda n: -round(np.ptp(paths[n][:, 0]) / width))
        found |= {lines[number]: (place, len(together)) for place, number in enumerate(ordered)}
    return found


def groups(paths: list[np.ndarray], width: float) -> list[list[int]]:
    """The numbers of the paths [points, 2] that coincide with another one, group by group."""
    found: list[list[int]] = []
    for number, path in enumerate(paths):
        for together in found:
            if coincide(paths[together[0]], path, width):
                together.append(number)
                break
        else:
            found.append([number])
    return [together for together in found if len(together) > 1]


def coincide(first: np.ndarray, second: np.ndarray, width: float) -> bool:
    """Whether two paths are closer than `width` along at least SHARE of the shorter one."""
    if len(first) < 2 or len(second) < 2:
        return False
    distances = _by_column(first, second) if _is_function(first) and _is_function(second) else _by_point(first, second)
    return len(distances) > 0 and float((distances < width).mean()) >= SHARE


def _by_column(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The vertical distances of two curves at places of the x that both cover."""
    low, high = max(first[0, 0], second[0, 0]), min(first[-1, 0], second[-1, 0])
    if high <= low:
        return np.empty(0)
    columns = np.linspace(low, high, COLUMNS)
    return np.abs(np.interp(columns, *first.T) - np.interp(columns, *second.T))


def _by_point(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The distances of two trajectories from point to point."""
    shared = min(len(first), len(second))
    return np.hypot(*(first[:shared] - second[:shared]).T)


def _is_function(path: np.ndarray) -> bool:
    return bool((np.diff(path[:, 0]) >= 0).all())


def _pixels(axes: Axes, line: Line2D) -> np.ndarray:
    """The line's points on the page, those in view of the axes or next to them."""
    points = np.column_stack([np.asarray(values, dtype=float) for values in line.get_data()])
    path = axes.transData.transform(points)
    path = path[np.isfinite(path).all(axis=1)]
    if not len(path) or not _is_function(path):
        return path
    box = axes.bbox
    seen = np.flatnonzero((path[:, 1] >= box.ymin) & (path[:, 1] <= box.ymax))
    return path[max(seen[0] - 1, 0) : seen[-1] + 2] if len(seen) else path[:0]


def _width(axes: Axes, lines: list[Line2D]) -> float:
    """The width of the widest line, in pixels."""
    figure = axes.get_figure()
    assert figure is not None
    return max((line.get_linewidth() for line in lines), default=0.0) * figure.dpi / 72
