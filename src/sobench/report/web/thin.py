"""Thinning of a path to what a screen shows: whole coordinates, the extremes of each column, no point on a straight
line.

`simplified` is the method of Ramer (1972) and of Douglas and Peucker (1973).
"""

from __future__ import annotations

import numpy as np

MOST = 200
"""The most points of a path."""
TOLERANCE = 1.2
"""The distance below which a point counts as on the line between its neighbours, in units of the coordinates."""


def thinned(points: np.ndarray, most: int = MOST, tolerance: float = TOLERANCE) -> np.ndarray:
    """The path [points, 2] in whole numbers, with at most `most` points; its first and last point are kept."""
    whole = np.round(points).astype(int)
    moved = np.ones(len(whole), dtype=bool)
    moved[1:] = (np.diff(whole, axis=0) != 0).any(axis=1)
    whole = whole[moved]
    if len(whole) > most and bool((np.diff(whole[:, 0]) >= 0).all()):
        whole = extremes(whole, most)
    kept = simplified(whole, tolerance)
    while len(kept) > max(most, 2):
        tolerance *= 1.5
        kept = simplified(whole, tolerance)
    return kept


def extremes(points: np.ndarray, most: int) -> np.ndarray:
    """The first and the last point of a curve, and the lowest and the highest of each of its columns.

    The x of the points [points, 2] does not fall.
    """
    x = points[:, 0]
    columns = max(1, (most - 2) // 2)
    places = np.minimum(((x - x[0]) * columns) // max(1, x[-1] - x[0]), columns - 1)
    starts = np.flatnonzero(np.diff(places, prepend=-1))
    kept = {0, len(points) - 1}
    for start, stop in zip(starts, [*starts[1:], len(points)]):
        y = points[start:stop, 1]
        kept |= {int(start + y.argmin()), int(start + y.argmax())}
    return points[sorted(kept)]


def simplified(points: np.ndarray, tolerance: float) -> np.ndarray:
    """The points [points, 2] without those that are nearer than `tolerance` to the line that remains."""
    keep = np.zeros(len(points), dtype=bool)
    keep[[0, -1]] = True
    parts = [(0, len(points) - 1)]
    while parts:
        first, last = parts.pop()
        if last - first < 2:
            continue
        distances = _from_segment(points[first + 1 : last], points[first], points[last])
        farthest = int(distances.argmax())
        if distances[farthest] > tolerance:
            keep[middle := first + 1 + farthest] = True
            parts += [(first, middle), (middle, last)]
    return points[keep]


def _from_segment(points: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """The distance of each point [points, 2] from a segment."""
    along = (end - start).astype(float)
    squared = float(along @ along)
    shares = np.clip((points - start) @ along / squared, 0.0, 1.0) if squared else np.zeros(len(points))
    return np.hypot(*(points - start - shares[:, None] * along).T)
