"""Whether a hyperparameter of an optimizer is read: whether changing it changes a trajectory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sobench.contract_subject import STEPS, Subject, advance, theta
from sobench.errors import SobenchError


def is_read(subject: Subject, name: str, references: dict[str, list[bytes]]) -> bool:
    """Whether some change of `name` changes some trajectory: from the defaults, or with another one changed too."""
    settings = subject.hyperparameters
    others = sorted((k for k in settings if k != name), key=lambda k: _rank(settings[k]))
    contexts = [{}] + [{k: v} for k in others for v in _changed(k, settings[k], subject)]
    for context in contexts:
        if repr(context) not in references:
            references[repr(context)] = list(_trajectory(subject, context))
        reference = references[repr(context)]
        if len(reference) < STEPS:
            continue
        for value in _changed(name, settings[name], subject):
            trajectory = _trajectory(subject, context | {name: value})
            if any(bits != expected for bits, expected in zip(trajectory, reference)):  # the first that differ will do
                return True
    return False


def _trajectory(subject: Subject, hyperparameters: dict[str, Any]) -> Iterator[bytes]:
    """The bits of the parameters after each of STEPS steps; fewer if these hyperparameters are refused."""
    try:
        trainer = subject.trainer(**hyperparameters)
        for _ in range(STEPS):
            advance(trainer, 1)
            yield theta(trainer).numpy().tobytes()
    except (SobenchError, ValueError, TypeError, RuntimeError):
        return


def _rank(value: Any) -> int:
    """In which order settings are changed to have another one read: switches and zeros, words, amounts."""
    return 0 if isinstance(value, bool) or value == 0 else 2 if isinstance(value, (int, float)) else 1


def _changed(name: str, value: Any, subject: Subject) -> Iterator[Any]:
    """Other values of a hyperparameter, near ones first."""
    if isinstance(value, bool):
        yield not value
    elif isinstance(value, int):
        yield from (v for v in (value + 1, max(1, value // 2), 1, 2 * value) if v != value)
    elif isinstance(value, float):
        yield from (v for v in (1.5 * value, 0.5 * value, 0.5, 1e-3 * value, 1e3 * value, 10.0) if v != value)
    elif isinstance(value, list):
        yield [0.9 * v for v in value]
    elif isinstance(value, str) or value is None:
        yield from (v for v in _words(name, subject) if v != value)


def _words(name: str, subject: Subject) -> list[Any]:
    """What a setting that is a word, or nothing, may be: from the rule of its name, or a note in its YAML file."""
    from sobench.rules import HYPERPARAMETERS

    rule = HYPERPARAMETERS.get(name)
    if rule is None:
        return []
    candidates: list[Any] = [word.strip() for word in rule.allowed.replace(" or ", ", ").split(",")] + [1, 2, 0.5]
    return [value for value in candidates if rule.accepts(value)]
