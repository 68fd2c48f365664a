"""The values that the keys of a report take: see `sobench.report.schema.check` for what a check is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sobench.errors import UsageError
from sobench.report.schema.check import Check, choice, inside, short
from sobench.results.axes import AXES, EXTREMES


def words(value: Any, where: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise UsageError(f"{where}: wants text, got {short(value)}")
    return " ".join(value.split())


def number(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        hint = " (YAML reads 1e-3 as text: write 1.0e-3)" if isinstance(value, str) and "e" in value.lower() else ""
        raise UsageError(f"{where}: wants a number, got {short(value)}{hint}")
    return value


def whole(value: Any, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise UsageError(f"{where}: wants a whole number from 1 on, got {short(value)}")
    return value


def number_format(value: Any, where: str) -> str:
    try:
        format(1.5, value)
    except (TypeError, ValueError):
        raise UsageError(f"{where}: wants a format such as .4f or ,.0f, got {short(value)}") from None
    return value


def setting(value: Any, where: str) -> str:
    """A dotted path in a run's configuration, such as optimizer.lr."""
    if not isinstance(value, str) or not all(part.isidentifier() for part in value.split(".")):
        raise UsageError(f"{where}: wants a setting such as optimizer.lr, got {short(value)}")
    return value


def metric(value: Any, where: str) -> str:
    """The name of a metric, in which {method} stands for the name of each method."""
    name = words(value, where)
    if set("{}") & set(name.replace("{method}", "")):
        raise UsageError(f"{where}: got {short(value)}; only {{method}} may stand in braces")
    return name


def axis_value(value: Any, where: str) -> dict[str, float]:
    """A place on one of the x-axes, {axis: number}."""
    if not isinstance(value, Mapping) or len(value) != 1:
        raise UsageError(f"{where}: wants {{axis: number}}, got {short(value)}")
    return {choice(*AXES)(name, where): number(x, inside(where, name)) for name, x in value.items()}


def at(*names: str) -> Check:
    """One of the names, a place on one of the x-axes, or {highest: metric} or {lowest: metric}: where that one is best."""

    def check(value: Any, where: str) -> Any:
        if isinstance(value, str):
            return choice(*names)(value, where)
        if isinstance(value, Mapping) and len(value) == 1 and next(iter(value)) in EXTREMES:
            return {extreme: metric(of, inside(where, extreme)) for extreme, of in value.items()}
        return axis_value(value, where)

    return check


def anything(value: Any, where: str) -> Any:
    return value
