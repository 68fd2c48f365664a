"""Secrets in environment variables (keys, tokens, passwords), which are never written to files. No torch.

Settings are written to files, so a setting reads the environment variables of a short list alone. The list holds names,
since nothing in the value of another variable shows whether it is a secret: a password in the address of a database, a
short key, a token under a name of its own.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from typing import Any

from sobench.errors import UsageError

_NAME = re.compile(r"KEY|TOKEN|SECRET|PASSW|CREDENTIAL", re.IGNORECASE)
_SHORTEST = 12  # characters: a shorter value may be an ordinary word

PREFIX = "SOBENCH_"
"""The variables of this prefix are read, unless they are secrets by their names."""
READABLE = (
    *("HOME", "USER", "TMPDIR", "SCRATCH"),  # places
    *("WANDB_MODE", "WANDB_PROJECT", "WANDB_ENTITY", "WANDB_TAGS"),  # the defaults of conf/logger/wandb.yaml
)
"""The other environment variables that a setting may read."""
_TYPED = re.compile(r"\boc\.env\s*:\s*['\"]?(\w+)")
COPIED = (
    "hydra.job.env_copy: it makes environment variables values of the configuration, which settings can refer to; "
    "allowed: hydra.job.env_set, with values that are no secrets"
)
"""The refusal of the setting of Hydra's that reads environment variables without an interpolation."""


def guard_interpolations() -> None:
    """Let `${oc.env:NAME}` in a configuration refuse a variable that no setting may read, wherever it is resolved."""
    from omegaconf import OmegaConf, __version__
    from omegaconf.resolvers import oc

    def env(name: str, *default: Any) -> Any:
        if refusal := _unreadable(name):
            from omegaconf.errors import InterpolationResolutionError

            raise InterpolationResolutionError(refusal)
        return oc.env(name, *default)

    old = __version__.startswith("2.3.")  # `register_resolver` is another function there
    register = OmegaConf.register_new_resolver if old else OmegaConf.register_resolver
    register("oc.env", env, replace=True)  # pyright: ignore[reportCallIssue] - it has the parameter from 2.4 on


def check_words(words: Iterable[str]) -> None:
    """Raises UsageError for an override, as it was typed, with `${oc.env:NAME}` of a variable that is not read.

    Hydra's own settings are among them, of which some are not resolved before they are used.
    """
    for word in words:
        if "env_copy" in word:
            raise UsageError(COPIED)
        for name in _TYPED.findall(word):
            if refusal := _unreadable(name):
                raise UsageError(f"{word.partition('=')[0]}: {refusal}")


def _unreadable(name: str) -> str:
    """Why a setting may not read an environment variable; empty if it may."""
    if name in READABLE or (name.startswith(PREFIX) and not _NAME.search(name)):
        return ""
    return (
        f"got ${{oc.env:{name}}}; allowed: the environment variables {', '.join(READABLE)}, and {PREFIX}..., but no "
        "key, token or password: every setting is written to the run's directory"
    )


def secrets() -> dict[str, str]:
    """{name: value} of the environment variables that are secrets by their names; the path of a file is not one."""
    return {
        name: value
        for name, value in os.environ.items()
        if _NAME.search(name) and len(value) >= _SHORTEST and not value.startswith(("/", "~", "."))
    }


def hide(text: str) -> str:
    """The text with every secret replaced by ***."""
    for value in secrets().values():
        text = text.replace(value, "***")
    return text


def refuse(settings: Any) -> None:
    """Raises UsageError for a setting that contains a secret, typed by hand or by a shell: settings are written.

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
