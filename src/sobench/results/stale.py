"""Stale results: made by older code of their method, or from other data, than the installed ones. No torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sobench.config import groups
from sobench.results import fingerprint
from sobench.results.fingerprint import Fingerprint
from sobench.results.method_code import SAME_RESULTS, SCHEME
from sobench.system.files import parse_json

CODE = {
    "method": "older code of its method",
    "dataset": "older code of its data set",
    "model": "older code of its model",
    "loss": "older code of its loss",
    "schedule": "older code of its schedule",
    "instrument": "older code of its instrument",
    "metrics": "older code of its metrics",
}
REASONS = CODE | {"data": "other data"}
"""The reason, by the part of the fingerprint that differs."""


class Judge:
    """The fingerprints that runs would have now, computed once for each method and data set."""

    def __init__(self) -> None:
        self._now: dict[str, Fingerprint] = {}

    def now(self, settings: Mapping[str, Any]) -> Fingerprint:
        """The fingerprint that a run would have. settings: its configuration, or its identity."""
        names = [groups.optimizers(settings["optimizer"]), settings.get("model", {}).get("name"), settings.get("loss")]
        names.append(settings.get("schedule", {}).get("name"))
        parts = [*names, settings.get("metrics"), settings.get("instrument"), settings["dataset"], settings.get("data")]
        place = json.dumps(parts, sort_keys=True)
        if place not in self._now:
            self._now[place] = fingerprint.fingerprint(settings)
        return self._now[place]

    def reason(self, directory: Path | str, settings: Mapping[str, Any]) -> str | None:
        """The reason why the result in `directory`, of a run with these settings, is stale; None as in `why`."""
        then = fingerprint.recorded(directory)
        return why(then, self.now(settings)) if then else None


def why(then: Fingerprint, now: Fingerprint) -> str | None:
    """The reason why a result with the fingerprint `then` is stale.

    None if it is not stale, or if that is unknown: the method or the data are not installed, or the digest of the
    method is of another scheme.
    """
    reasons = []
    for part, reason in REASONS.items():
        if part in CODE and fingerprint.scheme(then) != now["scheme"]:
            continue
        before, after = then.get(part), now.get(part)
        if None not in (before, after) and after not in (before, SAME_RESULTS.get(str(before))):
            reasons.append(reason)
    return " and ".join(reasons) or None


def is_earlier(then: Fingerprint) -> bool:
    """Whether a fingerprint is of an earlier scheme, so that changes of the method's code cannot be detected."""
    scheme = fingerprint.scheme(then)
    return isinstance(scheme, int) and scheme < SCHEME


def settings_of(directory: Path | str) -> dict[str, Any] | None:
    """The identity of a run, from its run.json; None if the file is missing or damaged."""
    try:
        settings = parse_json(Path(directory, "run.json").read_bytes())["config"]
        names = [settings[group]["name"] for group in ("dataset", "model", "optimizer")]
        return settings if all(isinstance(name, str) for name in names) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
