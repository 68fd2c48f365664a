"""What no single key of a report can say: every method that is named is one of the report's, and every test, column and
panel has the keys that go together."""

from __future__ import annotations

import math

from sobench.errors import UsageError
from sobench.report.schema.check import nearest
from sobench.report.schema.panels import Panel
from sobench.report.schema.spec import Column, Reach, Report, Test
from sobench.results.axes import AXES

RIVALS = {"compare": "one or more", "ratio": "exactly one", "bound": "no", "robust": "no"}
BOUNDS = ("at_most", "at_least", "within")


def check_references(report: Report) -> None:
    """Raises UsageError, one line with the file and the key, on the first that is wrong."""

    def known(names: object, where: str) -> None:
        for name in names or ():
            if name not in report.methods:
                raise UsageError(
                    f"{report.file}: {where}.{name}: not a method of this report; {nearest(name, report.methods)}"
                )

    for index, column in enumerate(report.table.columns if report.table else []):
        known(column.published, f"table.columns[{index}].published")
        _check_column(column, f"{report.file}: table.columns[{index}]")
    for index, panel in enumerate(report.figure.panels if report.figure else []):
        known(panel.methods, f"figure.panels[{index}].methods")
        known(panel.published, f"figure.panels[{index}].published")
        if isinstance(panel, Panel):
            _check_panel(panel, f"{report.file}: figure.panels[{index}]")
    for index, claim in enumerate(report.claims):
        where = f"claims[{index}]"
        if claim.id in [other.id for other in report.claims[:index]]:
            raise UsageError(f"{report.file}: {where}.id: {claim.id} is already the id of another claim")
        known([claim.test.subject], f"{where}.test.subject")
        known(claim.test.rivals, f"{where}.test.rivals")
        _check_test(claim.test, f"{report.file}: {where}.test")


def _check_column(column: Column, where: str) -> None:
    if column.at == "best" and not column.better:
        raise UsageError(f"{where}.better: missing, and `at: best` needs it")
    _check_reach(column.reach, column.at, where)


def _check_panel(panel: Panel, where: str) -> None:
    if panel.x not in AXES and not panel.x_label:
        raise UsageError(
            f"{where}.x: got {panel.x!r}; {nearest(panel.x, AXES)}, or a column of the record, with its x_label"
        )
    if panel.mean_by and panel.x != panel.mean_by:
        raise UsageError(f"{where}.mean_by: the means of each epoch are drawn against x: epoch, got x: {panel.x}")
    if panel.mean_by and panel.smooth:
        raise UsageError(f"{where}.smooth: a panel has smooth or mean_by, not both")


def _check_reach(reach: Reach | None, at: object, where: str) -> None:
    if reach and (reach.at_most is None) == (reach.at_least is None):
        raise UsageError(f"{where}.reach: wants exactly one of at_most, at_least")
    if reach and at != "last":
        raise UsageError(f"{where}.at: a metric is taken where reach says or where at says, not both")


def _check_test(test: Test, where: str) -> None:
    _check_rivals(test, where)
    _check_bounds(test, where)
    _check_reach(test.reach, test.at, where)
    if test.growth and (test.kind not in ("compare", "bound") or test.at == "every"):
        raise UsageError(f"{where}.growth: an exponent can be compared or bound, got {test.kind} at {test.at}")
    if test.kind == "robust" and test.at == "every":
        raise UsageError(f"{where}.at: a robust wants one value a run, got every")
    if test.start and not test.by_row:
        raise UsageError(f"{where}.start: wants kind: share or at: every")
    for name, kinds in (("share", ("share", "robust")), ("times", ("robust",))):
        value = getattr(test, name)
        if (value is None) == (test.kind in kinds):
            raise UsageError(f"{where}.{name}: {'missing' if value is None else f'a {test.kind} has none'}")
    if test.share is not None and not 0 < test.share < 1:
        raise UsageError(f"{where}.share: wants a number between 0 and 1, got {test.share:g} (of all rows: at: every)")
    if test.times is not None and not test.times > 1:
        raise UsageError(f"{where}.times: wants a number above 1, got {test.times:g}")


def _check_rivals(test: Test, where: str) -> None:
    count = len(test.rivals)
    if not {"compare": count >= 1, "ratio": count == 1, "share": True}.get(test.kind, count == 0):
        wanted = RIVALS[test.kind]
        raise UsageError(f"{where}.rivals: a {test.kind} wants {wanted} rival{'' if wanted == 'exactly one' else 's'}")
    if test.subject in test.rivals:
        raise UsageError(f"{where}.rivals: {test.subject} cannot be its own rival")


def _check_bounds(test: Test, where: str) -> None:
    bounds = [name for name in BOUNDS if getattr(test, name) is not None]
    bounded = test.kind in ("ratio", "bound") or (test.kind == "share" and not test.rivals)
    if not bounded and bounds:
        raise UsageError(
            f"{where}.{bounds[0]}: a {test.kind}{' with rivals' if test.kind == 'share' else ''} has no "
            "bound; use kind: ratio or kind: bound"
        )
    if bounded and len(bounds) != 1:
        raise UsageError(f"{where}: a {test.kind} wants exactly one of {', '.join(BOUNDS)}")
    if test.within and not test.within[0] < test.within[1]:
        raise UsageError(f"{where}.within: wants [low, high] with low < high")
    low = test.within[0] if test.within else test.at_most if test.at_most is not None else test.at_least
    if test.kind == "ratio" and not (low > 0 and math.isfinite(low)):
        raise UsageError(f"{where}: a bound on a ratio is a positive number")
