"""The kinds of panel that a figure is made of: their keys, as `sobench.report.schema.spec` has those of the rest of a report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from sobench.report.schema.check import choice, either, key, listed, mapped
from sobench.report.schema.values import anything, at, metric, number, setting, whole, words

AT = at("last", "best")
WHERE = mapped(anything)
ROWS = choice("eval", "train")
BETTER = choice("lower", "higher")
_scale = choice("linear", "log")


@dataclass(frozen=True)
class Panel:
    """One set of axes with a curve a method. methods: which of the report's (default: all). {method} in y is replaced by
    the name of each: the columns of one run as several curves. smooth: y is the mean of the last so many steps. mean_by:
    y is the mean of the rows of each epoch. x: an axis, or a column of the record, with its x_label. published: a final value
    (a dotted level) or a list of [x, y] points per method."""

    x: str = key(words)
    y: str = key(metric)
    label: str = key(words)
    x_label: str = key(words, "")
    title: str = key(words, "")
    kind: str = key(choice("curve"), "curve")
    rows: str = key(ROWS, "eval")
    scale: str = key(_scale, "linear")
    x_scale: str = key(_scale, "linear")
    limits: list[float] | None = key(listed(number, 2), None)
    smooth: float | None = key(number, None)
    mean_by: str | None = key(choice("epoch"), None)
    methods: list[str] | None = key(listed(words), None)
    where: dict[str, object] = key(WHERE, {})
    published: dict[str, object] = key(mapped(either(number, listed(listed(number, 2)))), {})


class OfOneMethod:
    """A panel about one of the report's methods: `method`."""

    method: str

    @property
    def methods(self) -> list[str]:
        return [self.method]


@dataclass(frozen=True)
class Contour(OfOneMethod):
    """One set of axes with the contours of a metric of one method over two settings, on logarithmic axes. levels: how many
    steps of colour; scale: of the colours."""

    method: str = key(words)
    metric: str = key(metric)
    label: str = key(words)
    x: str = key(setting, "optimizer.lr")
    y: str = key(setting, "optimizer.damping")
    x_label: str = key(words, "learning rate")
    y_label: str = key(words, "damping")
    title: str = key(words, "")
    kind: str = key(choice("contour"), "contour")
    rows: str = key(ROWS, "eval")
    at: object = key(AT, "last")
    better: str = key(BETTER, "lower")
    scale: str = key(_scale, "linear")
    levels: int = key(whole, 12)
    where: dict[str, object] = key(WHERE, {})

    published: ClassVar[dict[str, object]] = {}
    reach: ClassVar[None] = None
    growth: ClassVar[None] = None


@dataclass(frozen=True)
class Trajectory:
    """One set of axes with the ways of all methods over a landscape, as `instrument=trajectory` records them: those of the
    first seed that all of them have, from a triangle to a cross each. levels: how many steps of colour."""

    label: str = key(words)
    x_label: str = key(words, "first weight")
    y_label: str = key(words, "second weight")
    title: str = key(words, "")
    kind: str = key(choice("trajectory"), "trajectory")
    methods: list[str] | None = key(listed(words), None)
    levels: int = key(whole, 16)
    where: dict[str, object] = key(WHERE, {})

    asks: ClassVar[tuple[str, ...]] = ("start/{weight}", "weight/{weight}", "landscape/{place}")
    published: ClassVar[dict[str, object]] = {}


@dataclass(frozen=True)
class Heatmap(OfOneMethod):
    """One set of axes with a matrix of groups of parameters, of one run of a method: `metric` with {down} and {across} replaced
    by each group's name. down, across: {label: name}. at: which evaluation."""

    method: str = key(words)
    metric: str = key(words)
    down: dict[str, str] = key(mapped(words))
    across: dict[str, str] = key(mapped(words))
    title: str = key(words, "")
    kind: str = key(choice("heatmap"), "heatmap")
    at: object = key(AT, "last")
    where: dict[str, object] = key(WHERE, {})

    published: ClassVar[dict[str, object]] = {}


@dataclass(frozen=True)
class Profile(OfOneMethod):
    """One set of axes with a value of each group of parameters, a line for each of some epochs, of one run of a method: `metric`
    with {across} replaced by the group's name. window: the mean over the epochs from the one to the other, as shifts of
    the epoch. linear: below this size the scale is linear, not logarithmic."""

    method: str = key(words)
    metric: str = key(words)
    label: str = key(words)
    across: dict[str, str] = key(mapped(words))
    epochs: list[float] = key(listed(number))
    title: str = key(words, "")
    kind: str = key(choice("profile"), "profile")
    window: list[float] = key(listed(number, 2), [0, 0])
    linear: float = key(number, 0.01)
    where: dict[str, object] = key(WHERE, {})

    published: ClassVar[dict[str, object]] = {}
