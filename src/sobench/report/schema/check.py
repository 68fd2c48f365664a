"""Checks of data against dataclasses: every mistake is one line that names the file and the key.

A check is a function (value, where) -> value that raises UsageError; `where` is "<file>: <path of the key>".
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any, TypeVar

from sobench.errors import UsageError

Check = Callable[[Any, str], Any]
T = TypeVar("T")


def key(check: Check, default: Any = dataclasses.MISSING, **more: Any) -> Any:
    """A dataclass field whose value must pass `check`; without a default it must be there."""
    if isinstance(default, (dict, list)):
        return dataclasses.field(default_factory=lambda: type(default)(default), metadata={"check": check}, **more)
    return dataclasses.field(default=default, metadata={"check": check}, **more)


def build(cls: type[T], data: Any, where: str) -> T:
    """An instance of the dataclass from a mapping: no unknown key, none missing, every value checked."""
    if not isinstance(data, Mapping):
        raise UsageError(f"{where}: wants keys ({', '.join(_keys(cls))}), got {short(data)}")
    fields = _keys(cls)
    for name in data:
        if name not in fields:
            raise UsageError(f"{inside(where, name)}: unknown key; {nearest(str(name), fields)}")
    for name, field in fields.items():
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and name not in data:
            raise UsageError(f"{inside(where, name)}: missing")
    return cls(**{name: fields[name].metadata["check"](value, inside(where, name)) for name, value in data.items()})


def nearest(name: str, allowed: Any) -> str:
    """ "did you mean x? allowed: x, y" """
    close = get_close_matches(name, list(allowed), n=1)
    return (f"did you mean {close[0]}? " if close else "") + f"allowed: {', '.join(allowed)}"


def choice(*allowed: str) -> Check:
    def check(value: Any, where: str) -> str:
        if value not in allowed:
            raise UsageError(f"{where}: got {short(value)}; {nearest(str(value), allowed)}")
        return value

    return check


def one(cls: type) -> Check:
    return lambda value, where: build(cls, value, where)


def listed(check: Check, length: int | None = None) -> Check:
    def check_list(value: Any, where: str) -> list:
        if not isinstance(value, list) or (length is not None and len(value) != length):
            raise UsageError(f"{where}: wants a list{f' of {length}' if length else ''}, got {short(value)}")
        return [check(item, f"{where}[{index}]") for index, item in enumerate(value)]

    return check_list


def one_or_more(check: Check) -> Check:
    return lambda value, where: (listed(check) if isinstance(value, list) else check)(value, where)


def mapped(check: Check) -> Check:
    def check_mapping(value: Any, where: str) -> dict:
        if not isinstance(value, Mapping):
            raise UsageError(f"{where}: wants keys and values, got {short(value)}")
        return {str(name): check(item, inside(where, name)) for name, item in value.items()}

    return check_mapping


def by_kind(default: str, **classes: type) -> Check:
    """An instance of the class that the key `kind` names."""

    def check(value: Any, where: str) -> Any:
        kind = value.get("kind", default) if isinstance(value, Mapping) else default
        return build(classes[choice(*classes)(kind, inside(where, "kind"))], value, where)

    return check


def either(*checks: Check) -> Check:
    """Passes what any of the checks passes; otherwise the last one's complaint."""

    def check(value: Any, where: str) -> Any:
        for attempt in checks[:-1]:
            try:
                return attempt(value, where)
            except UsageError:
                continue
        return checks[-1](value, where)

    return check


def _keys(cls: type) -> dict[str, dataclasses.Field]:
    return {field.name: field for field in dataclasses.fields(cls) if "check" in field.metadata}


def inside(where: str, name: object) -> str:
    """The place of a key inside another."""
    return f"{where}{name}" if where.endswith(": ") else f"{where}.{name}"


def short(value: Any) -> str:
    """The value as it was written, at most 60 characters of it."""
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."
