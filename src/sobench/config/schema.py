"""Forms of structured data, as a YAML file holds it: lists, mappings and records whose scalars are Rules. No torch.

A form is a `Rule` of `sobench.config.rules` or a `Shape`. `read` takes a value, a form and the key of the value, a path
such as `table.columns[1].label`; it returns the value or raises UsageError, one line: "key: got X, allowed: Y".
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

from sobench.config.registry import suggestion
from sobench.config.rules import Rule, choice
from sobench.errors import UsageError

LONGEST = 60
"""Characters of a value that a message repeats at most."""

T = TypeVar("T")


@dataclass(frozen=True)
class Shape:
    """A form of several parts, or of a converted scalar.

    allowed: the form in words, for the message. read: (value, key) -> the value in the program; raises UsageError.
    """

    allowed: str
    read: Callable[[Any, str], Any]


Form = Rule | Shape


def read(value: Any, form: Form, key: str) -> Any:
    """The value in the program. Raises UsageError if the value has not this form."""
    if isinstance(form, Shape):
        return form.read(value, key)
    if not form.accepts(value):
        refuse(key, value, f"allowed: {form.allowed}")
    return value


def refuse(key: str, value: Any, allowed: str) -> NoReturn:
    """Raises UsageError: "key: got X, allowed: Y"; a long value is cut. allowed: with that word."""
    text = repr(value)
    text = text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."
    raise UsageError(f"{key}: got {text}, {allowed}")


def inside(key: str, name: object) -> str:
    """The path of a key inside another. A path that ends in ": " is the name of a file."""
    return f"{key}{name}" if key.endswith(": ") else f"{key}.{name}"


def name_of(*names: str) -> Shape:
    """One of these names, as `rules.choice`; the message suggests the nearest."""
    rule = choice(*names)

    def read_name(value: Any, key: str) -> str:
        if not rule.accepts(value):
            refuse(key, value, suggestion(value, names))
        return value

    return Shape(rule.allowed, read_name)


def list_of(form: Form, length: int | None = None) -> Shape:
    """A list of values of one form, of this length if one is given."""
    rule = Rule((list,), f"a list of {length}" if length else "a list", lambda v: length in (None, len(v)))

    def read_list(value: Any, key: str) -> list[Any]:
        items = read(value, rule, key)
        return [read(item, form, f"{key}[{index}]") for index, item in enumerate(items)]

    return Shape(f"{rule.allowed}, each of them {form.allowed}", read_list)


def mapping_of(form: Form) -> Shape:
    """A mapping of any keys, which become text, to values of one form."""
    rule = Rule((Mapping,), "keys and values")

    def read_mapping(value: Any, key: str) -> dict[str, Any]:
        items = read(value, rule, key).items()
        return {str(name): read(item, form, inside(key, name)) for name, item in items}

    return Shape(rule.allowed, read_mapping)


def one_or_more(form: Form) -> Shape:
    """A value of the form, or a list of such values."""
    several = list_of(form)
    return Shape(
        f"{form.allowed}, or {several.allowed}",
        lambda value, key: read(value, several if isinstance(value, list) else form, key),
    )


def either(simple: Form, structured: Form) -> Shape:
    """A scalar of one form, or a list or mapping of another; an error inside a list or mapping names the key there."""

    def read_either(value: Any, key: str) -> Any:
        if isinstance(value, (list, Mapping)):
            return read(value, structured, key)
        try:
            return read(value, simple, key)
        except UsageError as error:
            raise UsageError(f"{error}, or {structured.allowed}") from None

    return Shape(f"{simple.allowed}, or {structured.allowed}", read_either)


def key(form: Form, default: Any = dataclasses.MISSING) -> Any:
    """A field of a dataclass that `record` reads: its form and its default. A key without a default is required."""
    if isinstance(default, (dict, list)):
        copy = type(default)
        return dataclasses.field(default_factory=lambda: copy(default), metadata={"form": form})
    return dataclasses.field(default=default, metadata={"form": form})


def record(cls: type) -> Shape:
    """An instance of a dataclass, from a mapping of its keys."""
    return Shape(f"keys ({', '.join(_fields(cls))})", lambda value, key: build(cls, value, key))


def variant(selector: str, default: str, classes: Mapping[str, type]) -> Shape:
    """An instance of the dataclass that the key `selector` names, of the class `default` if the key is missing."""
    names = name_of(*classes)

    def read_variant(value: Any, key: str) -> Any:
        name = value.get(selector, default) if isinstance(value, Mapping) else default
        return build(classes[read(name, names, inside(key, selector))], value, key)

    return Shape(f"keys, with {selector}: {names.allowed}", read_variant)


def build(cls: type[T], value: Any, where: str) -> T:
    """An instance of a dataclass from a mapping of its keys.

    where: the path of the mapping, or "<file>: ". Raises UsageError for an unknown key, a missing one, or a wrong
    value.
    """
    fields = _fields(cls)
    items = read(value, Rule((Mapping,), f"keys ({', '.join(fields)})"), where.removesuffix(": "))
    for name in items:
        if name not in fields:
            raise UsageError(f"{inside(where, name)}: no such key, {suggestion(name, fields)}")
    for name, field in fields.items():
        if _is_required(field) and name not in items:
            raise UsageError(f"{inside(where, name)}: missing")
    values = {name: read(item, fields[name].metadata["form"], inside(where, name)) for name, item in items.items()}
    return cls(**values)


def plain(part: Any) -> Any:
    """The mapping of which `build` makes this instance, without the optional keys that are None or empty."""
    if dataclasses.is_dataclass(part) and not isinstance(part, type):
        values = {name: getattr(part, name) for name in _fields(type(part))}
        required = {name for name, field in _fields(type(part)).items() if _is_required(field)}
        empty = {name for name, value in values.items() if value is None or value in ("", [], {})}
        return {name: plain(value) for name, value in values.items() if name not in empty - required}
    if isinstance(part, Mapping):
        return {name: plain(value) for name, value in part.items()}
    return [plain(item) for item in part] if isinstance(part, (list, tuple)) else part


def _is_required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _fields(cls: type) -> dict[str, dataclasses.Field[Any]]:
    return {field.name: field for field in dataclasses.fields(cls) if "form" in field.metadata}
