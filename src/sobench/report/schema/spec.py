"""The keys of a report, conf/report/<paper>/<artifact>.yaml; `sobench.report.schema.catalogue` reads the files.

A file holds facts and presentation only: what the paper printed, what it claims, and how our results are shown beside
it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from sobench.config.schema import either, key, list_of, mapping_of, name_of, one_or_more, record, variant
from sobench.report.schema.panels import (
    AT,
    BETTER,
    ROWS,
    WHERE,
    AnyPanel,
    Contour,
    Heatmap,
    Panel,
    Profile,
    Sensitivity,
    Trajectory,
)
from sobench.report.schema.values import (
    at,
    axis_value,
    metric,
    number,
    number_format,
    scope,
    setting,
    whole,
    words,
    words_or_null,
)
from sobench.results.axes import At

_BUDGETS = name_of("equal", "any")
_PANEL = variant(
    "kind",
    "curve",
    {
        "curve": Panel,
        "contour": Contour,
        "trajectory": Trajectory,
        "heatmap": Heatmap,
        "profile": Profile,
        "sensitivity": Sensitivity,
    },
)


@dataclass(frozen=True)
class Method:
    """A row of the table and a line of the figure: its label, and its runs (default: the optimizer of this name).

    Methods with the same `where` are series of the same runs, told apart by {method} in the names of metrics.
    """

    label: str = key(words)
    where: dict[str, object] = key(WHERE, {})


@dataclass(frozen=True)
class Reach:
    """The first row in which a metric reaches a level: at_most for a metric that falls, at_least for one that rises."""

    metric: str = key(metric)
    at_most: float | None = key(number, None)
    at_least: float | None = key(number, None)

    def __str__(self) -> str:
        return f"{self.metric} <= {self.at_most:g}" if self.at_least is None else f"{self.metric} >= {self.at_least:g}"


@dataclass(frozen=True)
class Column:
    """One metric in the table.

    published: for a method a number, or [number, spread], as the paper prints them. published_as: the heading of these
    numbers, where the paper does not print them but they follow from what it prints. reach: the metric (an axis) is
    taken where another metric reaches a level. growth: the column shows the exponent with which the metric grows with
    this setting.
    """

    metric: str = key(metric)
    label: str = key(words)
    format: str = key(number_format, ".4f")
    better: str | None = key(BETTER, None)
    at: At = key(AT, "last")
    rows: str = key(ROWS, "eval")
    reach: Reach | None = key(record(Reach), None)
    growth: str | None = key(setting, None)
    where: dict[str, object] = key(WHERE, {})
    published: dict[str, float | list[float]] = key(mapping_of(either(number, list_of(number, 2))), {})
    published_as: str = key(words, "published")

    @property
    def place(self) -> str:
        """`at`, `reach` and `growth` in a few words."""
        place = str(self.reach or self.at)
        return f"{place}, growth with {self.growth}" if self.growth else place


@dataclass(frozen=True)
class Table:
    columns: list[Column] = key(list_of(record(Column)))


@dataclass(frozen=True)
class Figure:
    panels: list[AnyPanel] = key(list_of(_PANEL))
    columns: int = key(whole, 3)


@dataclass(frozen=True)
class Test:
    """The test that decides a claim; `sobench.report.claims` describes each kind.

    metric: one, or a list of metrics of which each must pass. at: `every` is every row, from `start` on. budgets: `any`
    allows a comparison of runs that were given different numbers of epochs; each must still reach the claim's scope.
    """

    kind: str = key(name_of("compare", "ratio", "bound", "share", "robust"))
    metric: str | list[str] = key(one_or_more(metric))
    subject: str = key(words)
    better: str = key(BETTER)
    rivals: list[str] = key(list_of(words), [])
    at_most: float | None = key(number, None)
    at_least: float | None = key(number, None)
    within: list[float] | None = key(list_of(number, 2), None)
    share: float | None = key(number, None)
    times: float | None = key(number, None)
    at: At = key(at("last", "best", "every"), "last")
    start: dict[str, float] = key(axis_value, {})
    reach: Reach | None = key(record(Reach), None)
    growth: str | None = key(setting, None)
    rows: str = key(ROWS, "eval")
    where: dict[str, object] = key(WHERE, {})
    budgets: str = key(_BUDGETS, "equal")

    __test__ = False  # pytest must not collect it

    @property
    def metrics(self) -> list[str]:
        return self.metric if isinstance(self.metric, list) else [self.metric]

    @property
    def by_row(self) -> bool:
        """Whether the test is about every row of a run, and not about one number a run."""
        return self.kind == "share" or self.at == "every"

    @property
    def over_settings(self) -> bool:
        """Whether the test is about runs of several configurations at once."""
        return self.kind == "robust" or self.growth is not None


@dataclass(frozen=True)
class Claim:
    """A sentence of the paper.

    reading: our interpretation of it, where the paper gives no numbers. scope: the place that the runs must reach
    before the claim is judged; `sobench.report.scope` describes it and its default.
    """

    id: str = key(words)
    text: str = key(words)
    source: str = key(words)
    test: Test = key(record(Test))
    reading: str = key(words, "")
    scope: str | dict[str, float] | None = key(scope, None)


@dataclass(frozen=True)
class Note:
    """A remark on the page. where: it is shown only if one of the report's runs matches."""

    text: str = key(words)
    where: dict[str, object] = key(WHERE, {})


@dataclass(frozen=True)
class Choice:
    """How the shown configuration of each method was chosen: by a metric, among the runs that differ in the settings
    `over`. The method's `where` has the values of these that were chosen."""

    metric: str = key(metric)
    label: str = key(words)
    better: str = key(BETTER)
    over: list[str] = key(list_of(setting))
    at: At = key(AT, "last")
    rows: str = key(ROWS, "eval")

    where: ClassVar[dict[str, object]] = {}
    reach: ClassVar[None] = None

    @property
    def keys(self) -> list[str]:
        """The settings in which the runs of a method differ."""
        return self.over


@dataclass(frozen=True)
class Report:
    """One artifact of a paper, and the experiment whose runs it shows.

    settings: those that ask for its runs, as for `sobench run -m`: beside the experiment, or without one. methods: the
    rows, their order, and the names that everything else in the file uses. choice: how their configurations were
    chosen, where the runs have several of a method. budgets: `any` where the paper itself gives its methods different
    numbers of epochs; no method is then marked as cut. timing: `shared` where the times of runs that shared their GPU,
    or were contended, count like any other.
    """

    title: str = key(words)
    source: str = key(words)
    experiment: str | None = key(words_or_null)
    methods: dict[str, Method] = key(mapping_of(either(words, record(Method))))
    settings: list[str] = key(list_of(words), [])
    choice: Choice | None = key(record(Choice), None)
    table: Table | None = key(record(Table), None)
    figure: Figure | None = key(record(Figure), None)
    claims: list[Claim] = key(list_of(record(Claim)), [])
    budgets: str = key(_BUDGETS, "equal")
    timing: str = key(name_of("alone", "shared"), "alone")
    notes: list[Note] = key(list_of(either(words, record(Note))), [])
    id: str = field(default="")
    file: str = field(default="")

    @property
    def paper(self) -> str:
        return self.id.rpartition("/")[0]

    @property
    def runs_of(self) -> str:
        """The name of what asks for its runs, for messages."""
        return self.experiment or "its settings"

    @property
    def columns(self) -> list[Column]:
        """The columns of the table; none without a table."""
        return self.table.columns if self.table else []

    @property
    def panels(self) -> list[AnyPanel]:
        """The panels of the figure; none without a figure."""
        return self.figure.panels if self.figure else []

    @property
    def series(self) -> bool:
        """Whether its methods are series of the same runs."""
        wheres = [method.where for method in self.methods.values()]
        return len(wheres) > 1 and all(where == wheres[0] for where in wheres)
