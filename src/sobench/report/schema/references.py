"""Checks of a report across its keys: names of methods, and keys that need or exclude each other."""

from __future__ import annotations

import math
from collections.abc import Iterable

from sobench.config.registry import suggestion
from sobench.errors import UsageError
from sobench.report.schema.panels import Panel
from sobench.report.schema.spec import Claim, Column, Reach, Report, Test
from sobench.results.axes import AXES, At

RIVALS = {"compare": "one or more", "ratio": "exactly one", "bound": "none", "robust": "none"}
"""The number of rivals of a test, by its kind; a share may have any number."""
OUTCOMES = ("loss", "accuracy", "train_error", "test_error", "_mse", "_rmse", "_r2", "suboptimality")
"""Words in the name of a metric that depends on how long a run was trained."""
BOUNDS = ("at_most", "at_least", "within")


def check_references(report: Report) -> None:
    """Raises UsageError for the first error: one line with the file and the key."""
    _check_labels(report)
    for index, column in enumerate(report.columns):
        where = f"{report.file}: table.columns[{index}]"
        _check_methods(report, column.published, f"{where}.published")
        _check_column(column, where)
    for index, panel in enumerate(report.panels):
        where = f"{report.file}: figure.panels[{index}]"
        _check_methods(report, panel.methods or [], f"{where}.methods")
        _check_methods(report, panel.published, f"{where}.published")
        if isinstance(panel, Panel):
            _check_panel(panel, where)
    for index, claim in enumerate(report.claims):
        where = f"{report.file}: claims[{index}]"
        if claim.id in [other.id for other in report.claims[:index]]:
            raise UsageError(f"{where}.id: {claim.id} is already the id of another claim")
        _check_methods(report, [claim.test.subject], f"{where}.test.subject")
        _check_methods(report, claim.test.rivals, f"{where}.test.rivals")
        _check_test(claim.test, f"{where}.test")
        _check_scope(claim, where)


def _check_labels(report: Report) -> None:
    """Check that each method has a label of its own, which is its name in the table and in the legend."""
    owners: dict[str, str] = {}
    for name, method in report.methods.items():
        if (owner := owners.setdefault(method.label, name)) != name:
            raise UsageError(
                f"{report.file}: methods.{name}.label: got {method.label!r}, the label of {owner}; allowed: a label of "
                f"its own, such as {_telling(report, name, owner)!r}"
            )


def _telling(report: Report, name: str, owner: str) -> str:
    """The label of a method with the first setting in which its runs differ from those of `owner`, else its name."""
    own, other = (report.methods[method].where for method in (name, owner))
    differing = next((f"{key} {value}" for key, value in own.items() if other.get(key) != value), name)
    return f"{report.methods[name].label} ({differing})"


def _check_methods(report: Report, names: Iterable[str], where: str) -> None:
    for name in names:
        if name not in report.methods:
            raise UsageError(f"{where}.{name}: not a method of this report, {suggestion(name, report.methods)}")


def _check_column(column: Column, where: str) -> None:
    if column.at == "best" and not column.better:
        raise UsageError(f"{where}.better: missing, and `at: best` needs it")
    _check_reach(column.reach, column.at, where)


def _check_panel(panel: Panel, where: str) -> None:
    if panel.x not in AXES and not panel.x_label:
        raise UsageError(f"{where}.x: got {panel.x!r} without x_label, {suggestion(panel.x, AXES)}")
    if panel.mean_by and panel.x != panel.mean_by:
        raise UsageError(f"{where}.mean_by: the means of each epoch are drawn against x: epoch, got x: {panel.x}")
    if panel.mean_by and panel.smooth:
        raise UsageError(f"{where}.smooth: a panel has smooth or mean_by, not both")


def _check_reach(reach: Reach | None, at: At, where: str) -> None:
    if reach and (reach.at_most is None) == (reach.at_least is None):
        raise UsageError(f"{where}.reach: needs exactly one of at_most, at_least")
    if reach and at != "last":
        raise UsageError(f"{where}.at: a metric is taken where reach says or where at says, not both")


def _check_test(test: Test, where: str) -> None:
    _check_rivals(test, where)
    _check_bounds(test, where)
    _check_reach(test.reach, test.at, where)
    if test.growth and (test.kind not in ("compare", "ratio", "bound") or test.at == "every"):
        raise UsageError(f"{where}.growth: an exponent has a compare, ratio or bound, got {test.kind} at {test.at}")
    if test.kind == "robust" and test.at == "every":
        raise UsageError(f"{where}.at: got 'every', allowed: one value a run, as kind: robust needs")
    if test.start and not test.by_row:
        raise UsageError(f"{where}.start: needs kind: share or at: every")
    _check_share(test, where)


def _check_scope(claim: Claim, where: str) -> None:
    """Refuse to judge an outcome at any budget: a loss after two steps is no evidence."""
    outcomes = [name for name in claim.test.metrics if any(word in name for word in OUTCOMES)]
    if claim.scope == "any" and outcomes and not claim.test.growth:
        raise UsageError(
            f"{where}.scope: got 'any', allowed: paper or {{axis: number}}, as {outcomes[0]} depends on the budget"
        )


def _check_share(test: Test, where: str) -> None:
    """Check share and times, which some kinds need and the others do not have."""
    for name, kinds in (("share", ("share", "robust")), ("times", ("robust",))):
        value = getattr(test, name)
        if (value is None) == (test.kind in kinds):
            raise UsageError(f"{where}.{name}: {'missing' if value is None else f'a {test.kind} has none'}")
    if test.share is not None and not 0 < test.share < 1:
        all_rows = "of all rows: at: every"
        raise UsageError(f"{where}.share: got {test.share:g}, allowed: a number above 0 and below 1 ({all_rows})")
    if test.times is not None and not test.times > 1:
        raise UsageError(f"{where}.times: got {test.times:g}, allowed: a number above 1")


def _check_rivals(test: Test, where: str) -> None:
    count = len(test.rivals)
    allowed = {"compare": count >= 1, "ratio": count == 1, "share": True}.get(test.kind, count == 0)
    if not allowed:
        raise UsageError(f"{where}.rivals: got {count}, allowed: {RIVALS[test.kind]}, as kind: {test.kind} needs")
    if test.subject in test.rivals:
        raise UsageError(f"{where}.rivals: {test.subject} cannot be its own rival")


def _check_bounds(test: Test, where: str) -> None:
    bounds = [name for name in BOUNDS if getattr(test, name) is not None]
    bounded = test.kind in ("ratio", "bound") or (test.kind == "share" and not test.rivals)
    if not bounded and bounds:
        rivals = " with rivals" if test.kind == "share" else ""
        raise UsageError(f"{where}.{bounds[0]}: a {test.kind}{rivals} has no bound; use kind: ratio or kind: bound")
    if bounded and len(bounds) != 1:
        raise UsageError(f"{where}: a {test.kind} needs exactly one of {', '.join(BOUNDS)}")
    if test.within and not test.within[0] < test.within[1]:
        raise UsageError(f"{where}.within: got {test.within}, allowed: [low, high] with low < high")
    if test.kind == "ratio":
        bounds_low = (test.within[0] if test.within else None, test.at_most, test.at_least)
        (low,) = [value for value in bounds_low if value is not None]
        if not (low > 0 and math.isfinite(low)):
            raise UsageError(f"{where}.{bounds[0]}: got {low:g}, allowed: a bound on a ratio is a positive number")
