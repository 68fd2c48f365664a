"""The scope of a claim: the place that its runs must reach before the claim is judged.

    any              a cost, which is the same at any budget
    paper            the budget that the experiment declares as `paper`
    {axis: number}   a place on an x-axis, such as {epoch: 20}

The budget of the paper ends a run at the first of its limits, so a run that reached one of them has come as far. So has
a run that diverged or converged: nothing comes after it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from sobench.report.schema.spec import Claim, Test
from sobench.results.axes import AXES
from sobench.results.pick import COSTS, SLACK
from sobench.results.state import State

if TYPE_CHECKING:
    from sobench.config.run import Run

ANY, PAPER = "any", "paper"
SMOKE = "smoke"
"""The budget whose runs are no evidence."""
LIMITS = ("epochs", "steps", "seconds")
"""The limits of a budget."""
_AXIS = {"epochs": "epoch", "steps": "step", "seconds": "seconds"}
_UNITS = {"seconds": "s", "total_seconds": "s", "process_seconds": "CPU s", "work": "work"}
_ENOUGH = 0.99
"""The share of a limit that counts as the limit: an epoch need not divide into the steps between two looks."""

Scope = str | Mapping[str, float]


def scope_of(claim: Claim) -> Scope:
    """The scope of a claim, by default `any` for a cost, the place that `at` names, or else `paper`."""
    if claim.scope is not None:
        return claim.scope
    if is_cost(claim.test):
        return ANY
    at = claim.test.at
    if isinstance(at, Mapping) and AXES.keys() >= at.keys():
        return {axis: float(x) for axis, x in at.items()}
    return PAPER


def is_cost(test: Test) -> bool:
    """Whether a test is about costs, or the growth of a metric, alone."""
    return test.growth is not None or COSTS.issuperset(test.metrics)


def only_checked(run: Run) -> str:
    """The reason why a run is no evidence, whatever it reached: it only checks that runs work. "" of any other run."""
    budget = run.config.get("budget") or {}
    if budget.get("samples") is not None:
        return f"the runs use at most {budget['samples']:,} samples of each set"
    return "budget=smoke only checks that runs work" if budget.get("name") == SMOKE else ""


def paper_limits(run: Run) -> dict[str, float]:
    """The limits that this run has under the budget `paper` of its experiment; empty if there is no such budget.

    A cell may take a limit from another key (`budget.seconds=${budget.long_seconds}`). The command line replaces such a
    setting; the longer of the two limits then counts.
    """
    paper = (run.config.get("budgets") or {}).get("paper") or {}
    overrides = dict(override.split("=", 1) for override in run.overrides if override.startswith("budget."))
    limits = {}
    for unit in LIMITS:
        override = overrides.get(f"budget.{unit}", "")
        if override.startswith("${budget."):
            limits[unit] = paper.get(override.removeprefix("${budget.").removesuffix("}"))
        elif override:
            limits[unit] = max((v for v in (paper.get(unit), paper.get(f"long_{unit}")) if v), default=None)
        else:
            limits[unit] = paper.get(unit)
    return {unit: limit for unit, limit in limits.items() if limit}


def reached(run: Run, state: State, scope: Scope) -> bool:
    """Whether a finished run came as far as the scope says."""
    if scope == ANY or state.status == "diverged" or state.summary.get("converged"):
        return True
    if isinstance(scope, Mapping):
        ((axis, x),) = scope.items()
        return position(state).get(axis, 0.0) >= x - SLACK * max(1.0, abs(x))
    limits = paper_limits(run)
    place = position(state)
    return any(place[_AXIS[unit]] >= _ENOUGH * limit for unit, limit in limits.items())


def asked(runs: Sequence[Run], scope: Scope) -> str:
    """The scope in words: "7 epochs", or "500 s or 2,000 s" for runs with different budgets of the paper."""
    if isinstance(scope, Mapping):
        return ", ".join(_with_unit(_number(x), axis) for axis, x in scope.items())
    texts = [", ".join(_with_unit(_number(x), _AXIS[unit]) for unit, x in paper_limits(run).items()) for run in runs]
    return " or ".join(dict.fromkeys(text for text in texts if text)) or "no budget of that name in the experiment"


def made(states: Sequence[State]) -> str:
    """The length of these runs: "20 epochs", "2 steps", "3 to 20 epochs"; steps for less than an epoch."""
    positions = [position(state) for state in states]
    axis = "epoch" if min((p["epoch"] for p in positions), default=0.0) >= 1 else "step"
    values = [p[axis] for p in positions] or [0.0]
    texts = dict.fromkeys(_number(value) for value in (min(values), max(values)))
    return _with_unit(" to ".join(texts), axis)


def _with_unit(number: str, axis: str) -> str:
    """ "1 epoch", "20 epochs", "500 s" """
    return f"{number} {_UNITS.get(axis) or (axis if number == '1' else f'{axis}s')}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.3g}"


def position(state: State) -> dict[str, float]:
    """The last position of a run on each axis."""
    summary = state.summary
    found = {"step": state.step, "epoch": state.epoch, "seconds": state.seconds}
    found |= {axis: summary.get(axis) for axis in ("work", "process_seconds")}
    found["total_seconds"] = state.total_seconds
    return {axis: float(value or 0.0) for axis, value in found.items()}
