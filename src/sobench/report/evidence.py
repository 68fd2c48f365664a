"""The runs and results of each method of a report. The parts of a report get their numbers here."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pandas as pd

from sobench.errors import UsageError
from sobench.report.cuts import Cut, cuts
from sobench.report.looks import Looks
from sobench.report.numbers import PLACE, Number, Numbers, Rows, smoothed
from sobench.report.schema.panels import AnyPanel, Contour, Heatmap, Panel, Profile, Sensitivity, Trajectory
from sobench.report.schema.spec import Choice, Column, Report, Test
from sobench.report.scope import position
from sobench.results.aggregate import Aggregate, aggregate
from sobench.results.axes import AXES, At, is_time
from sobench.results.collection import Results
from sobench.results.curves import Series
from sobench.results.pick import COSTS, count, first, mean_between, pick, reach
from sobench.results.record import STEP_COST
from sobench.results.state import KEEPS, State

if TYPE_CHECKING:
    from sobench.config.run import Run
    from sobench.results.row_table import Table

OverSettings = Sensitivity | Choice
"""A part of a report about the runs of a method that differ in some settings, its `keys`."""
Wanted = Column | Test | Contour | OverSettings
"""A part of a report that needs one number for each run."""
OfOneRun = Heatmap | Profile
"""A panel that shows one run."""
LANDSCAPE = "landscape/"
"""The beginning of the names of the columns with the losses around the start."""
Shown = TypeVar("Shown", bound=Column | Test | AnyPanel)
"""A part of a report that shows runs."""


@dataclass(frozen=True)
class Path:
    """The trajectory of a run, two weights from the start on [points, 2], and the losses around it, by place."""

    points: np.ndarray
    landscape: dict[tuple[float, float], float]


@dataclass(frozen=True)
class Evidence:
    """A report and the results of its runs.

    looks: those of a report whose seeds were added by need. written: the numbers of the runs, if the results have no
    rows any more.
    """

    report: Report
    results: Results
    looks: Looks | None = None
    written: Numbers | None = None

    @cached_property
    def numbers(self) -> Numbers:
        """The numbers of the runs."""
        return self.written or Numbers(self.results.table, runs=len(self.results.runs))

    def fitting(self, method: str, where: Mapping[str, object], over: Sequence[str] = ()) -> list[Run]:
        """The expected runs of a method, of all configurations that match `where`.

        over: settings that may have any value, whatever the method's own `where` says.
        """
        place = ("fitting", method, repr(where), tuple(over))
        if place not in self._picked:
            own = {key: value for key, value in self.report.methods[method].where.items() if key not in over}
            self._picked[place] = self.results.select({**own, **where})
        return self._picked[place]

    def asked(self, parts: Sequence[Shown]) -> list[Shown]:
        """The columns, panels or claims' tests for which the selection has runs; all of them, if it has none."""
        with_runs = []
        for part in parts:
            methods = (
                [part.subject] if isinstance(part, Test) else getattr(part, "methods", None) or self.report.methods
            )
            if any(self.fitting(method, part.where) for method in methods):
                with_runs.append(part)
        return with_runs or list(parts)

    @cached_property
    def panels(self) -> list[AnyPanel]:
        """The panels for which the selection has runs; those against time are against cost where times are missing."""
        return [self.by_cost(panel) for panel in self.asked(self.report.panels)]

    def by_cost(self, panel: AnyPanel) -> AnyPanel:
        """The panel; if its x is a time, a method has no run that counts there, and every cost is known, by cost."""
        if not (isinstance(panel, Panel) and is_time(panel.x)):
            return panel
        place = ("by cost", id(panel))
        if place not in self._picked:
            self._picked[place] = self._by_cost(panel)
        return self._picked[place]

    def _by_cost(self, panel: Panel) -> Panel:
        methods = panel.methods or list(self.report.methods)
        finished = [states for method in methods if (states := self._over(method, panel))]
        quiet = all(any(state.status in KEEPS for state in states) for states in finished)
        if quiet or not all(STEP_COST in state.summary for states in finished for state in states):
            return panel
        published = {method: value for method, value in panel.published.items() if not isinstance(value, list)}
        label = f"{AXES['cost']},\nin place of time: not every method has a quiet run"
        return replace(panel, x="cost", x_label=label, published=published)

    def _over(self, method: str, panel: Panel) -> list[State]:
        """The states of a method's runs with a result, as they count in a panel."""
        runs, states = [run.id for run in self.runs(method, panel.where)], self.states(panel)
        return [states[run] for run in runs if self.results.states[run].status in KEEPS]

    def runs(self, method: str, where: Mapping[str, object]) -> list[Run]:
        """The expected runs of a method, all of one cell.

        Raises UsageError if they are of several: a mean over different configurations is meaningless.
        """
        runs = self.fitting(method, where)
        cells = {run.cell for run in runs}
        if len(cells) > 1:
            raise UsageError(
                f"{self.report.file}: methods.{method}.where: fits {len(cells)} configurations of "
                f"{self.report.runs_of}; add the keys in which they differ"
            )
        return runs

    def states(self, part: object, metric: str = "") -> Mapping[str, State]:
        """The states of all runs, as they count for this part of the report and this metric.

        Where the length of a run until it converged is asked for, a run that did not converge is censored: its status
        is a lower bound of its length, "> 10 s, not converged".
        """
        states = self._states[_of_time(part, metric)]
        return self._censored(states, metric) if is_convergence(part, metric) else states

    def censored(self, wanted: Wanted, metric: str, method: str) -> dict[int, float]:
        """The length of each finished run of a method that did not converge, by seed, where the length until then is
        asked for: a lower bound.
        """
        if not is_convergence(wanted, metric):
            return {}
        states, lengths = self.states(wanted, metric), self.values(wanted, metric, method)
        runs = self.fitting(method, wanted.where)
        return {run.seed: lengths[run.id] for run in runs if states[run.id].censored}

    def aggregate(self, wanted: Wanted, metric: str, method: str, runs: list[Run]) -> Aggregate:
        """Our value of a metric over the seeds of one cell. For a cost, diverged runs count too."""
        return aggregate(
            self.values(wanted, metric, method),
            runs,
            self.states(wanted, metric),
            diverged=metric in COSTS,
            infinite="not reached" if wanted.reach else "not finite",
        )

    def outcomes(self, test: Test, metric: str, method: str) -> dict[int, float | pd.Series]:
        """The outcome of each seed for a claim about one cell: a value; for a test by row, the values by step.

        A run that diverged, ended at a value that is not finite, or did not reach the level, is worse than any number:
        +-infinity, except for a cost. In a comparison, one that did not converge takes infinitely long. Runs that are
        not over, failed, lack the metric, or were disturbed where a time is asked for, are left out.
        """
        worst = math.inf if test.better == "lower" else -math.inf
        values = self._series(test, metric, method) if test.by_row else self.values(test, metric, method)
        states = self.states(test, metric)
        outcomes: dict[int, float | pd.Series] = {}
        for run in self.runs(method, test.where):
            state, value = states[run.id], values.get(run.id, math.nan)
            if state.status == "diverged" and metric not in COSTS:
                outcomes[run.seed] = worst
            elif state.censored and test.kind == "compare":
                outcomes[run.seed] = math.inf
            elif state.status in KEEPS:
                outcomes[run.seed] = worst if isinstance(value, float) and math.isinf(value) else value
        return {seed: value for seed, value in outcomes.items() if not _empty(value)}

    def cuts(self, where: Mapping[str, object]) -> dict[str, Cut]:
        """The methods that were given fewer epochs than the others, see `cuts.cuts`; none for `budgets: any`."""
        if self.report.budgets == "any":
            return {}
        place = ("cuts", str(where))
        if place not in self._picked:
            done = {method: self._done(method, where) for method in self.report.methods}
            self._picked[place] = cuts({method: runs for method, runs in done.items() if runs}, self.results.states)
        return self._picked[place]

    def stale(self, method: str, where: Mapping[str, object]) -> str | None:
        """ "2 of 5 runs are stale: older code of its method", about the runs of a method; None if none is stale."""
        runs = self.fitting(method, where)
        reasons = [self.results.stale[run.id] for run in runs if run.id in self.results.stale]
        if not reasons:
            return None
        verb = "is" if len(reasons) == 1 else "are"
        return f"{len(reasons)} of {len(runs)} runs {verb} stale: {', '.join(dict.fromkeys(reasons))}"

    def curves(self, method: str, panel: Panel, status: str) -> list[Series]:
        """The curve of each run of a method in this panel that has this status."""
        place = ("curves", method, id(panel), status)
        if place not in self._picked:
            y, runs = smoothed(_named(panel.y, method), panel.smooth), self._ids(method, panel, status)
            rows, x = (Rows(panel.rows, "epochs"), PLACE) if panel.mean_by else (Rows(panel.rows), panel.x)
            self._picked[place] = panel, list(self.numbers.series(rows, x, y, runs).values())  # the id is the panel's
        return self._picked[place][1]

    def ends(self, method: str, panel: Panel) -> dict[str, float]:
        """The last value of y of each finished run of a method, by run id: its mean is the end of the curve."""
        y, runs = _named(panel.y, method), self._ids(method, panel, "done")
        last = Number(y, "last", panel.rows)
        return self.numbers.of(last, runs, lambda t: pick(t, y, kind=panel.rows).to_dict(), self._use(panel))

    def undefined(self, method: str, panel: Panel) -> tuple[int, int]:
        """The number of rows of a method's finished runs that have no finite value of a panel's y, and of all rows."""
        y, runs, total = _named(panel.y, method), self._ids(method, panel, "done"), []
        for what in ("rows without a finite value", "rows"):
            of = y if what != "rows" else None
            name = Number(y, what, panel.rows)
            counts = self.numbers.of(name, runs, lambda t, of=of: count(t, panel.rows, without=of), self._use(panel))
            total.append(int(sum(counts.values())))
        return total[0], total[1]

    def path(self, method: str, panel: Trajectory, seed: int) -> Path | None:
        """The trajectory of a method's finished run of this seed, with the landscape; None if it recorded none."""
        ids = [run.id for run in self._with_status(method, panel, "done") if run.seed == seed]
        points = self.numbers.series(Rows("train", "all"), "weight/0", "weight/1", ids)
        if not points:
            return None

        def at_first(metric: str) -> float:
            name = Number(metric, "first", "train")
            found = self.numbers.of(name, ids, lambda table: first(table, metric, "train"), self._use(panel))
            return next(iter(found.values()), math.nan)

        ((_, us, vs),) = points.values()
        losses = {metric: at_first(metric) for metric in self.numbers.names(LANDSCAPE, "first", "train")}
        landscape = {_place_of(metric): loss for metric, loss in losses.items() if not math.isnan(loss)}
        start = np.array([at_first("start/0"), at_first("start/1")])
        return Path(np.vstack([start, np.column_stack([us, vs])]), landscape)

    def of_first_seed(
        self, panel: OfOneRun, metric: str, at: At, epochs: tuple[float, float] | None = None
    ) -> float | None:
        """A number of the first finished seed of a panel's method: where `at` says, or the mean between two epochs.

        None if there is no such run, or it has no such number.
        """
        runs = self._ids(panel.method, panel, "done")[:1]
        if epochs:
            name = Number(metric, f"mean of epochs {epochs[0]:g} to {epochs[1]:g}", "eval")
            found = self.numbers.of(name, runs, lambda table: mean_between(table, metric, *epochs), self._use(panel))
        else:
            name = Number(metric, _words(at), "eval")
            found = self.numbers.of(name, runs, lambda table: pick(table, metric, at=at).to_dict(), self._use(panel))
        return next(iter(found.values()), None)

    def look_alikes(self, methods: Iterable[str], where: Mapping[str, object]) -> list[str]:
        """The data sets of these runs that stand in for one that is not available."""
        names = {run.config["dataset"]["name"] for method in methods for run in self.fitting(method, where)}
        return sorted(name for name in names if name.endswith("_synthetic"))

    def values(self, wanted: Wanted, metric: str, method: str) -> Mapping[str, float]:
        """One number of every run of a method, by id, taken where `at` or `reach` says."""
        metric, reached = _named(metric, method), wanted.reach
        name = Number(metric, _words(wanted.at, wanted.better), wanted.rows)
        if reached:
            of = replace(reached, metric=_named(reached.metric, method))
            name = replace(name, at=str(of))
            levels = {"at_most": of.at_most, "at_least": of.at_least}

            def take(table: Table) -> Mapping[str, float]:
                return reach(table, metric, of.metric, kind=wanted.rows, **levels).to_dict()
        else:

            def take(table: Table) -> Mapping[str, float]:
                return pick(table, metric, at=wanted.at, kind=wanted.rows, better=wanted.better).to_dict()

        over = wanted.keys if isinstance(wanted, OverSettings) else ()
        runs = [run.id for run in self.fitting(method, wanted.where, over)]
        return self.numbers.of(name, runs, take, self._use(wanted))

    def _series(self, test: Test, metric: str, method: str) -> Mapping[str, pd.Series]:
        """The numbers of a metric by step, from the test's start on, of every run of a method, by id."""
        runs = [run.id for run in self.fitting(method, test.where)]
        return self.numbers.by_step(test.rows, _named(metric, method), test.start, runs)

    def _with_status(self, method: str, panel: AnyPanel, status: str) -> list[Run]:
        """The runs of a method in this panel that have this status, in order of their seeds."""
        states = self.states(panel)
        runs = [run for run in self.runs(method, panel.where) if states[run.id].status == status]
        return sorted(runs, key=lambda run: run.seed)

    def _ids(self, method: str, panel: AnyPanel, status: str) -> list[str]:
        return [run.id for run in self._with_status(method, panel, status)]

    def _use(self, part: object) -> str:
        """The part of the report in words: "claim kfac-ahead", "column Training loss", "panel Loss"."""
        if isinstance(part, Test):
            return next((f"claim {claim.id}" for claim in self.report.claims if claim.test is part), "claim")
        if isinstance(part, Choice):
            return "choice of the settings"
        label = getattr(part, "label", "")
        return f"column {label}" if isinstance(part, Column) else f"panel {getattr(part, 'title', '') or label}"

    def _done(self, method: str, where: Mapping[str, object]) -> list[Run]:
        return [run for run in self.runs(method, where) if self._states[False][run.id].status == "done"]

    @cached_property
    def _states(self) -> dict[bool, Mapping[str, State]]:
        """The states of all runs as they count, by whether a time is asked for."""
        left_out = self.report.timing == "alone"
        return {of_time: self.results.alone(of_time) if left_out else self.results.states for of_time in (True, False)}

    def _censored(self, states: Mapping[str, State], axis: str) -> Mapping[str, State]:
        """The states, where each run that the budget ended before it converged has the status of a lower bound: the
        least of its cell.
        """
        place = ("censored", axis, id(states))
        if place not in self._picked:
            ended = [run for run in self.results.runs if _was_to_converge(run) and _ended_before(states[run.id])]
            least: dict[str, float] = {}
            for run in ended:
                least[run.cell] = min(least.get(run.cell, math.inf), position(states[run.id]).get(axis, 0.0))
            bounds = {
                run.id: replace(states[run.id], status=_lower_bound(least[run.cell], axis), censored=True)
                for run in ended
            }
            self._picked[place] = {**states, **bounds}
        return self._picked[place]

    @cached_property
    def _picked(self) -> dict[tuple[Any, ...], Any]:
        """The cache of this class: the parts of a report ask for the same values often."""
        return {}


def is_convergence(part: object, metric: str) -> bool:
    """Whether a part of a report asks for the position of a run at its end: how long the run took to converge."""
    return metric in AXES and getattr(part, "at", None) == "last" and not getattr(part, "reach", None)


def _was_to_converge(run: Run) -> bool:
    return (run.config.get("convergence") or {}).get("change") is not None


def _ended_before(state: State) -> bool:
    return state.status == "done" and not state.summary.get("converged")


def _lower_bound(length: float, axis: str) -> str:
    unit = "s" if is_time(axis) else f"{axis}s" if axis in ("step", "epoch") else axis
    return f"> {length:,.3g} {unit}, not converged"


def _named(metric: str, method: str) -> str:
    return metric.replace("{method}", method)


def _words(at: At, better: str | None = None) -> str:
    """A place in words: "last", "best (lower)", "epoch 20", "highest test_accuracy"."""
    if isinstance(at, Mapping):
        ((key, value),) = at.items()
        return f"{key} {value:g}" if isinstance(value, (int, float)) else f"{key} {value}"
    return f"{at} ({better})" if at == "best" else at


def _place_of(metric: str) -> tuple[float, float]:
    """The place of a loss of the landscape, from the name of its column."""
    u, v = metric.removeprefix(LANDSCAPE).split("/")
    return float(u), float(v)


def _of_time(part: object, metric: str) -> bool:
    """Whether a part of a report depends on a time: by its metric, an axis, or the place where the metric is taken."""
    names = [metric, str(getattr(part, "reach", None)), *getattr(part, "start", ())]
    names += [getattr(part, axis, "") for axis in ("x", "y")]
    at = getattr(part, "at", None)
    return is_time(*names, *(map(str, [*at, *at.values()]) if isinstance(at, Mapping) else ()))


def _empty(value: float | pd.Series) -> bool:
    return value.empty if isinstance(value, pd.Series) else math.isnan(value)
