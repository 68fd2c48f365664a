"""The kinds of panel of a figure and their keys; `sobench.report.schema.spec` has the keys of the rest of a report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from sobench.config.schema import either, key, list_of, mapping_of, name_of
from sobench.report.schema.values import anything, at, metric, number, setting, whole, words
from sobench.results.axes import At

AT = at("last", "best")
WHERE = mapping_of(anything)
ROWS = name_of("eval", "train")
BETTER = name_of("lower", "higher")
_SCALE = name_of("linear", "log")
_POINTS = list_of(list_of(number, 2))


@dataclass(frozen=True)
class Panel:
    """Axes with a curve for each method.

    methods: which of the report's methods (default: all). y: {method} in it is replaced by the name of each method, so
    that the columns of one run become several curves. smooth: y is the mean of the last `smooth` steps. mean_by: y is
    the mean of the rows of each epoch. x: an axis, or a column of the record, with its x_label. published: for a
    method, a final value (a dotted level) or a list of [x, y] points.
    """

    x: str = key(words)
    y: str = key(metric)
    label: str = key(words)
    x_label: str = key(words, "")
    title: str = key(words, "")
    kind: str = key(name_of("curve"), "curve")
    rows: str = key(ROWS, "eval")
    scale: str = key(_SCALE, "linear")
    x_scale: str = key(_SCALE, "linear")
    limits: list[float] | None = key(list_of(number, 2), None)
    smooth: float | None = key(number, None)
    mean_by: str | None = key(name_of("epoch"), None)
    methods: list[str] | None = key(list_of(words), None)
    where: dict[str, object] = key(WHERE, {})
    published: dict[str, float | list[list[float]]] = key(mapping_of(either(number, _POINTS)), {})


class OfOneMethod:
    """A panel about one of the report's methods: `method`."""

    method: str

    @property
    def methods(self) -> list[str]:
        return [self.method]


@dataclass(frozen=True)
class Contour(OfOneMethod):
    """Axes with the contours of a metric of one method over two settings, on logarithmic axes.

    levels: the number of colour steps. scale: of the colours.
    """

    method: str = key(words)
    metric: str = key(metric)
    label: str = key(words)
    x: str = key(setting, "optimizer.lr")
    y: str = key(setting, "optimizer.damping")
    x_label: str = key(words, "learning rate")
    y_label: str = key(words, "damping")
    title: str = key(words, "")
    kind: str = key(name_of("contour"), "contour")
    rows: str = key(ROWS, "eval")
    at: At = key(AT, "last")
    better: str = key(BETTER, "lower")
    scale: str = key(_SCALE, "linear")
    levels: int = key(whole, 12)
    where: dict[str, object] = key(WHERE, {})

    published: ClassVar[dict[str, object]] = {}
    reach: ClassVar[None] = None
    growth: ClassVar[None] = None


@dataclass(frozen=True)
class Trajectory:
    """Axes with the trajectories of all methods over a landscape, as `instrument=trajectory` records them.

    The runs are those of the first seed that all methods have. A triangle marks the start, a cross the end of each.
    levels: the number of colour steps.
    """

    label: str = key(words)
    x_label: str = key(words, "first weight")
    y_label: str = key(words, "second weight")
    title: str = key(words, "")
    kind: str = key(name_of("trajectory"), "trajectory")
    methods: list[str] | None = key(list_of(words), None)
    levels: int = key(whole, 16)
    where: dict[str, object] = key(WHERE, {})

    asks: ClassVar[tuple[str, ...]] = ("start/{weight}", "weight/{weight}", "landscape/{place}")
    published: ClassVar[dict[str, object]] = {}


@dataclass(frozen=True)
class Heatmap(OfOneMethod):
    """Axes with a matrix over groups of parameters, of one run of a method.

    metric: {down} and {across} in it are replaced by the name of each group. down, across: {label: name}. at: the
    evaluation that is shown.
    """

    method: str = key(words)
    metric: str = key(words)
    down: dict[str, str] = key(mapping_of(words))
    across: dict[str, str] = key(mapping_of(words))
    title: str = key(words, "")
    kind: str = key(name_of("heatmap"), "heatmap")
    at: At = key(AT, "last")
    where: dict[str, object] = key(WHERE, {})

    published: ClassVar[dict[str, object]] = {}


@dataclass(frozen=True)
class Profile(OfOneMethod):
    """Axes with a value of each group of parameters, of one run of a method: one line for each of some epochs.

    metric: {across} in it is replaced by the name of each group. window: each point is the mean over the epochs from
    the one to the other, given as shifts of the epoch. linear: below this size the scale is linear, not logarithmic.
    """

    method: str = key(words)
    metric: str = key(words)
    label: str = key(words)
    across: dict[str, str] = key(mapping_of(words))
    epochs: list[float] = key(list_of(number))
    title: str = key(words, "")
    kind: str = key(name_of("profile"), "profile")
    window: list[float] = key(list_of(number, 2), [0, 0])
    linear: float = key(number, 0.01)
    where: dict[str, object] = key(WHERE, {})

    published: ClassVar[dict[str, object]] = {}


@dataclass(frozen=True)
class Sensitivity:
    """Axes with a metric against one setting, the hyperparameter x: a line for each method.

    over: the settings in which the runs of a method differ, x among them (default: x alone); they are not taken from
    the method's `where`. A point is the best of the configurations that have this value of x.
    """

    x: str = key(setting)
    metric: str = key(metric)
    label: str = key(words)
    over: list[str] = key(list_of(setting), [])
    x_label: str = key(words, "")
    title: str = key(words, "")
    kind: str = key(name_of("sensitivity"), "sensitivity")
    rows: str = key(ROWS, "eval")
    at: At = key(AT, "last")
    better: str = key(BETTER, "lower")
    scale: str = key(_SCALE, "linear")
    x_scale: str = key(_SCALE, "log")
    methods: list[str] | None = key(list_of(words), None)
    where: dict[str, object] = key(WHERE, {})

    published: ClassVar[dict[str, object]] = {}
    reach: ClassVar[None] = None
    growth: ClassVar[None] = None

    @property
    def keys(self) -> list[str]:
        """The settings in which the runs of a method differ."""
        return self.over or [self.x]


AnyPanel = Panel | Contour | Trajectory | Heatmap | Profile | Sensitivity
