"""Secrets in environment variables (keys, tokens, passwords), which are never written to files. No torch."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any

from sobench.errors import UsageError

_NAME = re.compile(r"KEY|TOKEN|SECRET|PASSW|CREDENTIAL", re.IGNORECASE)
_SHORTEST = 12  # characters: a shorter value may be an ordinary word


def secrets() -> dict[str, str]:
    """{name: value} of the environment variables that are secrets by their names; a path is not a secret."""
    return {
        name: value
        for name, value in os.environ.items()
        if _NAME.search(name) and len(value) >= _SHORTEST and os.sep not in value
    }


def hide(text: str) -> str:
    """The text with every secret replaced by ***."""
    for value in secrets().values():
        text = text.replace(value, "***")
    return text


def refuse(settings: Any) -> None:
    """Raises UsageError for a setting that contains a secret, as `${oc.env:WANDB_API_KEY}`: settings are written.

    settings: nested dicts and lists.
    """
    hidden = secrets()
    for key, text in _texts(settings) if hidden else ():
        for name, value in hidden.items():
            if value in text:
                raise UsageError(
                    f"{key}: has the value of the environment variable {name}, a secret; allowed: no secret, "
                    "since every setting is written to the run's directory"
                )


def _texts(settings: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Every string in nested dicts and lists, with the dotted path to it."""
    if isinstance(settings, (dict, list)):
        for name, part in settings.items() if isinstance(settings, dict) else enumerate(settings):
            yield from _texts(part, f"{key}.{name}" if key else str(name))
    elif isinstance(settings, str):
        yield key, settings
