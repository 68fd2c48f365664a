"""Values of the environment that nothing may write down: keys, tokens, passwords."""

from __future__ import annotations

import os
import re
from typing import Any

from sobench.errors import UsageError

_NAME = re.compile(r"KEY|TOKEN|SECRET|PASSW|CREDENTIAL", re.IGNORECASE)
_SHORTEST = 12  # characters: a shorter value may be any word


def secrets() -> dict[str, str]:
    """{name: value} of the environment variables that are secrets by their name; a path is none."""
    return {
        name: value
        for name, value in os.environ.items()
        if _NAME.search(name) and len(value) >= _SHORTEST and os.sep not in value
    }


def hide(text: str) -> str:
    """The text with every secret as ***."""
    for value in secrets().values():
        text = text.replace(value, "***")
    return text


def refuse(settings: Any, key: str = "") -> None:
    """Raises UsageError for a setting that has a secret in it, as `${oc.env:WANDB_API_KEY}` has: it would be on the disk."""
    if isinstance(settings, (dict, list)):
        for name, part in settings.items() if isinstance(settings, dict) else enumerate(settings):
            refuse(part, f"{key}.{name}" if key else str(name))
    elif isinstance(settings, str):
        for name, value in secrets().items():
            if value in settings:
                raise UsageError(
                    f"{key}: has the value of the environment variable {name}, a secret; allowed: none, "
                    "as every setting is written to the run's directory"
                )
