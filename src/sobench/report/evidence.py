"""The runs and results of each method of a report. The parts of a report get their numbers here."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import pandas as pd

from sobench.errors import UsageError
from sobench.report.cuts import Cut, cuts
from sobench.report.looks import Looks
from sobench.report.schema.panels import AnyPanel, Contour, Heatmap, Panel, Profile, Trajectory
from sobench.report.schema.spec import Column, Report, Test
from sobench.results.aggregate import Aggregate, aggregate
from sobench.results.axes import AXES, is_time
from sobench.results.collection import Results
from sobench.results.pick import COSTS, pick, reach, series
from sobench.results.row_table import Table
from sobench.results.state import State

if TYPE_CHECKING:
    from sobench.config.run import Run

NOT_CONVERGED = "not converged"
"""The end of the status of a run that the budget ended, where the length until it converges is asked for."""

Wanted = Column | Test | Contour
"""A part of a report that needs one number for each run."""
Drawn = Panel | Trajectory | Heatmap | Profile
"""A part of a report that needs rows of runs."""
Shown = TypeVar("Shown", bound=Column | Test | AnyPanel)
"""A part of a report that shows runs."""


@dataclass(frozen=True)
class Evidence:
    """A report and the results of its runs. looks: those of a report whose seeds were added by need."""

    report: Report
    results: Results
    looks: Looks | None = None

    def fitting(self, method: str, where: Mapping[str, object]) -> list[Run]:
        """The expected runs of a method, of all configurations that match `where`."""
        place = ("fitting", method, repr(where))
        if place not in self._picked:
            self._picked[place] = self.results.select({**self.report.methods[method].where, **where})
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

    def runs(self, method: str, where: Mapping[str, object]) -> list[Run]:
        """The expected runs of a method, all of one cell.

        Raises UsageError if they are of several: a mean over different configurations is meaningless.
        """
        runs = self.fitting(method, where)
        cells = {run.cell for run in runs}
        if len(cells) > 1:
            raise UsageError(
                f"{self.report.file}: methods.{method}.where: fits {len(cells)} configurations of "
                f"{self.report.experiment}; add the keys in which they differ"
            )
        return runs

    def states(self, part: object, metric: str = "") -> Mapping[str, State]:
        """The states of all runs, as they count for this part of the report and this metric.

        Where the length of a run until it converged is asked for, a run that did not converge is censored: its status
        is its length as a lower bound, "> 10 s, not converged".
        """
        states = self._states[_of_time(part, metric)]
        return self._censored(states, metric) if is_convergence(part, metric) else states

    def censored(self, part: object, metric: str, method: str, where: Mapping[str, object]) -> int:
        """The number of finished runs of a method that did not converge, where the length until then is asked for."""
        if not is_convergence(part, metric):
            return 0
        states = self.states(part, metric)
        return sum(states[run.id].status.endswith(NOT_CONVERGED) for run in self.fitting(method, where))

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
        +-infinity, except for a cost. Runs that are not over, failed, lack the metric, or were disturbed where a time
        is asked for, are left out.
        """
        worst = math.inf if test.better == "lower" else -math.inf
        values = self._series(test, metric, method) if test.by_row else self.values(test, metric, method)
        outcomes: dict[int, float | pd.Series] = {}
        for run in self.runs(method, test.where):
            status, value = self.states(test, metric)[run.id].status, values.get(run.id, math.nan)
            if status == "diverged" and metric not in COSTS:
                outcomes[run.seed] = worst
            elif status in ("done", "diverged"):
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

    def rows(self, method: str, part: Drawn, kind: str, status: str) -> Table:
        """The rows of one kind of the runs of a method in this panel that have this status."""
        runs = [run for run in self.runs(method, part.where) if self.states(part)[run.id].status == status]
        place = ("rows", kind, *(run.id for run in runs))
        if place not in self._picked:
            self._picked[place] = self.results.rows(runs, kind)
        return self._picked[place]

    def look_alikes(self, methods: Iterable[str], where: Mapping[str, object]) -> list[str]:
        """The data sets of these runs that stand in for one that is not available."""
        names = {run.config["dataset"]["name"] for method in methods for run in self.fitting(method, where)}
        return sorted(name for name in names if name.endswith("_synthetic"))

    def values(self, wanted: Wanted, metric: str, method: str) -> Mapping[str, float]:
        """One number of every run, by id, taken where `at` or `reach` says."""
        reached = wanted.reach and (_named(wanted.reach.metric, method), wanted.reach.at_most, wanted.reach.at_least)
        place = (_named(metric, method), str(wanted.at), wanted.rows, wanted.better, reached)
        if place not in self._picked:
            self._picked[place] = self._pick(wanted, place[0], reached).to_dict()
        return self._picked[place]

    def _pick(self, wanted: Wanted, metric: str, reached: tuple[Any, ...] | None) -> pd.Series:
        if reached:
            of, at_most, at_least = reached
            return reach(self.results.table, metric, of, at_most=at_most, at_least=at_least, kind=wanted.rows)
        return pick(self.results.table, metric, at=wanted.at, kind=wanted.rows, better=wanted.better)

    def _series(self, test: Test, metric: str, method: str) -> Mapping[str, pd.Series]:
        place = (_named(metric, method), test.rows, str(test.start))
        if place not in self._picked:
            self._picked[place] = series(self.results.table, place[0], kind=test.rows, start=test.start)
        return self._picked[place]

    def _done(self, method: str, where: Mapping[str, object]) -> list[Run]:
        return [run for run in self.runs(method, where) if self._states[False][run.id].status == "done"]

    @cached_property
    def _states(self) -> dict[bool, Mapping[str, State]]:
        """The states of all runs as they count, by whether a time is asked for."""
        left_out = self.report.timing == "alone"
        return {of_time: self.results.alone(of_time) if left_out else self.results.states for of_time in (True, False)}

    def _censored(self, states: Mapping[str, State], axis: str) -> Mapping[str, State]:
        """The states, where each run that the budget ended before it converged has the status of a lower bound."""
        place = ("censored", axis, id(states))
        if place not in self._picked:
            self._picked[place] = {
                run.id: replace(states[run.id], status=_lower_bound(states[run.id], axis))
                if _was_to_converge(run) and _ended_before(states[run.id])
                else states[run.id]
                for run in self.results.runs
            }
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


def _lower_bound(state: State, axis: str) -> str:
    position = {"step": state.step, "epoch": state.epoch, "seconds": state.seconds} | state.summary
    unit = "s" if is_time(axis) else f"{axis}s" if axis in ("step", "epoch") else axis
    return f"> {position.get(axis) or 0:,.3g} {unit}, {NOT_CONVERGED}"


def _named(metric: str, method: str) -> str:
    return metric.replace("{method}", method)


def _of_time(part: object, metric: str) -> bool:
    """Whether a part of a report depends on a time: by its metric, an axis, or the place where the metric is taken."""
    names = [metric, str(getattr(part, "reach", None)), *getattr(part, "start", ())]
    names += [getattr(part, axis, "") for axis in ("x", "y")]
    at = getattr(part, "at", None)
    return is_time(*names, *(map(str, [*at, *at.values()]) if isinstance(at, Mapping) else ()))


def _empty(value: float | pd.Series) -> bool:
    return value.empty if isinstance(value, pd.Series) else math.isnan(value)
