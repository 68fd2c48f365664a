"""What a report is: the keys of conf/report/<paper>/<artifact>.yaml, which `sobench.report.schema.catalogue` reads.

The file holds facts and presentation only: what the paper printed, what it claims, and how to show ours beside it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from sobench.report.schema.check import by_kind, choice, either, key, listed, mapped, one, one_or_more
from sobench.report.schema.panels import AT, BETTER, ROWS, WHERE, Contour, Heatmap, Panel, Profile, Trajectory
from sobench.report.schema.values import at, axis_value, metric, number, number_format, setting, whole, words

_budgets = choice("equal", "any")


@dataclass(frozen=True)
class Method:
    """A row of the table, a line of the figure: a label, and which runs (default: the optimizer of this name). Methods
    with the same `where` are series of the same runs, told apart by {method} in the names of metrics."""

    label: str = key(words)
    where: dict[str, object] = key(WHERE, {})


@dataclass(frozen=True)
class Reach:
    """The first row in which a metric comes to a level: at_most for one that falls, at_least for one that rises."""

    metric: str = key(metric)
    at_most: float | None = key(number, None)
    at_least: float | None = key(number, None)

    def __str__(self) -> str:
        return f"{self.metric} <= {self.at_most:g}" if self.at_least is None else f"{self.metric} >= {self.at_least:g}"


@dataclass(frozen=True)
class Column:
    """One metric in the table. published: a number or [number, spread] per method, as the paper prints them. reach: the
    metric (an axis) where another one reaches a level. growth: the exponent with which it grows with this setting."""

    metric: str = key(metric)
    label: str = key(words)
    format: str = key(number_format, ".4f")
    better: str | None = key(BETTER, None)
    at: object = key(AT, "last")
    rows: str = key(ROWS, "eval")
    reach: Reach | None = key(one(Reach), None)
    growth: str | None = key(setting, None)
    where: dict[str, object] = key(WHERE, {})
    published: dict[str, object] = key(mapped(either(number, listed(number, 2))), {})

    @property
    def place(self) -> str:
        """What `at`, `reach` and `growth` say, in a word."""
        place = str(self.reach or self.at)
        return f"{place}, growth with {self.growth}" if self.growth else place


@dataclass(frozen=True)
class Table:
    columns: list[Column] = key(listed(one(Column)))


@dataclass(frozen=True)
class Figure:
    panels: list[Panel | Contour | Trajectory | Heatmap | Profile] = key(
        listed(by_kind("curve", curve=Panel, contour=Contour, trajectory=Trajectory, heatmap=Heatmap, profile=Profile))
    )
    columns: int = key(whole, 3)


@dataclass(frozen=True)
class Test:
    """What decides a claim; see `sobench.report.claims` for each kind. metric: one, or a list of which each must do.
    at: `every` is every row, from `start` on. budgets: `any` lets it compare runs that were given different numbers of
    epochs."""

    kind: str = key(choice("compare", "ratio", "bound", "share", "robust"))
    metric: str | list[str] = key(one_or_more(metric))
    subject: str = key(words)
    better: str = key(BETTER)
    rivals: list[str] = key(listed(words), [])
    at_most: float | None = key(number, None)
    at_least: float | None = key(number, None)
    within: list[float] | None = key(listed(number, 2), None)
    share: float | None = key(number, None)
    times: float | None = key(number, None)
    at: object = key(at("last", "best", "every"), "last")
    start: dict[str, float] = key(axis_value, {})
    reach: Reach | None = key(one(Reach), None)
    growth: str | None = key(setting, None)
    rows: str = key(ROWS, "eval")
    where: dict[str, object] = key(WHERE, {})
    budgets: str = key(_budgets, "equal")

    __test__ = False  # not a class of tests

    @property
    def metrics(self) -> list[str]:
        return self.metric if isinstance(self.metric, list) else [self.metric]

    @property
    def by_row(self) -> bool:
        """Whether it speaks of every row of a run, and not of one number a run."""
        return self.kind == "share" or self.at == "every"

    @property
    def over_settings(self) -> bool:
        """Whether it speaks of runs of several configurations at once."""
        return self.kind == "robust" or self.growth is not None


@dataclass(frozen=True)
class Claim:
    """A sentence of the paper. reading: what we take it to mean, where it does not say so in numbers."""

    id: str = key(words)
    text: str = key(words)
    source: str = key(words)
    test: Test = key(one(Test))
    reading: str = key(words, "")


@dataclass(frozen=True)
class Report:
    """One artifact of a paper, and the experiment whose runs it shows. methods give the rows, their order, and the
    names that everything else in the file uses. budgets: `any` where the paper itself gives its methods different numbers
    of epochs: no method is then marked as cut. timing: `shared` where times of runs that shared their GPU count like any."""

    title: str = key(words)
    source: str = key(words)
    experiment: str = key(words)
    methods: dict[str, Method] = key(mapped(either(words, one(Method))))
    table: Table | None = key(one(Table), None)
    figure: Figure | None = key(one(Figure), None)
    claims: list[Claim] = key(listed(one(Claim)), [])
    budgets: str = key(_budgets, "equal")
    timing: str = key(choice("alone", "shared"), "alone")
    notes: list[str] = key(listed(words), [])
    id: str = field(default="")
    file: str = field(default="")

    @property
    def paper(self) -> str:
        return self.id.rpartition("/")[0]

    @property
    def series(self) -> bool:
        """Whether its methods are series of the same runs."""
        wheres = [method.where for method in self.methods.values()]
        return len(wheres) > 1 and all(where == wheres[0] for where in wheres)
