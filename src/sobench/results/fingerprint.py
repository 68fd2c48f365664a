"""The code and the data that a run was made with, each as one digest. No torch.

scheme   the number of the rules that made `method`; digests of different schemes are not compared
method   the code of the optimizer, and of the instrument's companions, see method_code
data     the checksums of the files that the data set is read from; a file of the user's own is told apart by its settings
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sobench.errors import UsageError
from sobench.results.method_code import SCHEME, digest, method
from sobench.results.parse import loads

Fingerprint = dict[str, Any]
"""scheme: a number; method and data: a digest of each, None where it cannot be told."""


def fingerprint(settings: Mapping[str, Any], before: Path | None = None) -> Fingerprint:
    """The fingerprint of a run with these settings. before: the directory of a run that resumes from a checkpoint; the run keeps
    the fingerprint that it was begun with, so that a run of two halves counts as made by the older code."""
    if before:
        return recorded(before) or {"scheme": SCHEME, "method": None, "data": None}
    return {"scheme": SCHEME, "method": method(settings), "data": data(settings)}


def scheme(found: Fingerprint) -> Any:
    """The scheme of a recorded fingerprint; the first one had no number."""
    return found.get("scheme", 1)


def recorded(directory: Path | str) -> Fingerprint | None:
    """The fingerprint that a run wrote; None if it has none, being older than fingerprints, or not begun."""
    try:
        with open(f"{directory}/environment.json", "rb") as file:
            text = file.read()
        return of(loads(text)) if b'"fingerprint"' in text else None
    except (OSError, ValueError):
        return None


def of(environment: object) -> Fingerprint | None:
    """The fingerprint in what a run wrote of its environment."""
    found = environment.get("fingerprint") if isinstance(environment, dict) else None
    return found if isinstance(found, dict) else None


def data(settings: Mapping[str, Any]) -> str | None:
    """The digest of the files that the data set is read from, as they are here; None where one is not here."""
    from sobench.data import Store, sources

    dataset, place = settings["dataset"], settings.get("data") or {}
    try:
        store = Store.default(place.get("mirror"), place.get("cache"))
        found = [store.checksums(name) for name in sources(dataset, store)]
        vectors = dataset.get("vectors")
        own = [store.checksum(Path(vectors).expanduser())] if vectors and vectors not in store.sources else []
    except (OSError, UsageError):  # no such mirror, a file that cannot be read
        return None
    return None if None in found else digest(itertools.chain(*found, own))
