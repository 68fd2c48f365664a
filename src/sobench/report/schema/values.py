"""Forms of the values in a report's file, besides lists, mappings and records: see `sobench.config.schema`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sobench.config.rules import COUNT, Rule
from sobench.config.schema import Shape, either, inside, name_of, read, refuse
from sobench.results.axes import AXES, EXTREMES, MEAN_OF_EPOCH

_TEXT = Rule((str,), "text", lambda v: v.strip() != "")
_NUMBER = Rule((int, float), "a number")  # infinity included: a bound may be open
_METRIC = Rule((str,), "text, with only {method} in braces", lambda v: not set("{}") & set(v.replace("{method}", "")))
_AXIS = name_of(*AXES)
_PLACE = Rule((Mapping,), "{axis: number}", lambda v: len(v) == 1)


def _read_words(value: Any, key: str) -> str:
    return " ".join(read(value, _TEXT, key).split())


def _read_number(value: Any, key: str) -> float:
    if isinstance(value, str) and "e" in value.lower():
        refuse(key, value, f"allowed: {_NUMBER.allowed} (YAML reads 1e-3 as text: write 1.0e-3)")
    return read(value, _NUMBER, key)


def _read_metric(value: Any, key: str) -> str:
    return read(_read_words(value, key), _METRIC, key)


def _read_place(value: Any, key: str) -> dict[str, float]:
    items = read(value, _PLACE, key).items()
    return {read(axis, _AXIS, key): _read_number(x, inside(key, axis)) for axis, x in items}


def _is_format(text: str) -> bool:
    try:
        format(1.5, text)
    except ValueError:
        return False
    return True


words = Shape("text", _read_words)
"""Text that is not empty; each run of whitespace becomes one blank."""

words_or_null = Shape("text, or null", lambda value, key: None if value is None else _read_words(value, key))

number = Shape("a number", _read_number)

whole = COUNT

number_format = Rule((str,), "a format such as .4f or ,.0f", _is_format)

setting = Rule((str,), "a setting such as optimizer.lr", lambda v: all(part.isidentifier() for part in v.split(".")))
"""The dotted path of a setting in a run's configuration."""

metric = Shape("the name of a metric", _read_metric)
"""The name of a metric, in which {method} stands for the name of each method."""

axis_value = Shape("{axis: number}", _read_place)
"""A place on one of the x-axes."""

SCOPES = ("any", "paper")

scope = either(name_of(*SCOPES), axis_value)
"""The scope of a claim: a name, or a place on one of the x-axes."""

anything = Shape("anything", lambda value, key: value)


def at(*names: str) -> Shape:
    """Where a metric is taken: a name, a place on an x-axis, where another metric is extreme ({highest: metric}), or
    over the rows of an epoch ({mean_of_epoch: 1})."""
    named = name_of(*names)
    extremes = ", ".join(f"{{{extreme}: metric}}" for extreme in EXTREMES)
    places = f"{{axis: number}}, {extremes}, {{{MEAN_OF_EPOCH}: number}}"

    def read_at(value: Any, key: str) -> str | dict[str, float] | dict[str, str]:
        if isinstance(value, str):
            return read(value, named, key)
        if isinstance(value, Mapping) and len(value) == 1 and next(iter(value)) in EXTREMES:
            return {extreme: _read_metric(of, inside(key, extreme)) for extreme, of in value.items()}
        if isinstance(value, Mapping) and list(value) == [MEAN_OF_EPOCH]:
            return {MEAN_OF_EPOCH: read(value[MEAN_OF_EPOCH], COUNT, inside(key, MEAN_OF_EPOCH))}
        if not isinstance(value, Mapping):
            refuse(key, value, f"allowed: {', '.join(names)}, {places}")
        return _read_place(value, key)

    return Shape(f"{named.allowed}, {places}", read_at)
