"""Stale results: made by older code of their method, or from other data, than what is here now. No pandas, no torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sobench.results import fingerprint
from sobench.results.fingerprint import Fingerprint
from sobench.results.method_code import SCHEME

REASONS = {"method": "older code of its method", "data": "other data"}
"""By the part of a fingerprint that differs."""


class Judge:
    """What runs would be made with now: looked at once for all runs of a method and a data set."""

    def __init__(self) -> None:
        self._now: dict[str, Fingerprint] = {}

    def now(self, settings: Mapping[str, Any]) -> Fingerprint:
        """The fingerprint that a run would have; settings: its configuration, or its identity."""
        parts = [settings["optimizer"]["name"], settings.get("instrument"), settings["dataset"], settings.get("data")]
        place = json.dumps(parts, sort_keys=True)
        if place not in self._now:
            self._now[place] = fingerprint.fingerprint(settings)
        return self._now[place]


def why(then: Fingerprint, now: Fingerprint) -> str | None:
    """Why a result made with one fingerprint is stale where another holds; None if it is not, or cannot be told: a method or
    data that are not here, a method's digest of another scheme."""
    comparable = [part for part in REASONS if part != "method" or fingerprint.scheme(then) == now["scheme"]]
    reasons = [
        REASONS[part] for part in comparable if None not in (then.get(part), now[part]) and then[part] != now[part]
    ]
    return " and ".join(reasons) or None


def is_earlier(then: Fingerprint) -> bool:
    """Whether a fingerprint is of an earlier scheme: nothing tells whether the method's code has changed since."""
    scheme = fingerprint.scheme(then)
    return isinstance(scheme, int) and scheme < SCHEME


def settings_of(directory: Path | str) -> dict[str, Any] | None:
    """The identity of a run, from its run.json; None if that cannot be used."""
    try:
        found = json.loads(Path(directory, "run.json").read_bytes())["config"]
        return (
            found if all(isinstance(found[group]["name"], str) for group in ("dataset", "model", "optimizer")) else None
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
