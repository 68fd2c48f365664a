"""The fingerprint of a run: digests of the code and of the data that it was made with. No torch.

scheme   the number of the rules that made `method`; digests of different schemes are not compared
method   the code of the optimizer and of the instrument's companions, see `method_code`
data     the checksums of the files of the data set; files of the user's own are identified by the run's settings
         instead
dataset, model, loss, schedule, instrument, metrics
         the code of each that is a plug-in; those of sobench are not digested
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sobench.errors import UsageError
from sobench.results.method_code import SCHEME, digest, method, parts
from sobench.results.parse import loads

Fingerprint = dict[str, Any]
"""scheme: a number; the others: a digest of each, None if it is unknown."""


def fingerprint(settings: Mapping[str, Any], before: Path | None = None) -> Fingerprint:
    """The fingerprint of a run with these settings.

    before: the directory of a run that resumes from a checkpoint. It keeps the fingerprint of its start, so that a run
    made in two parts counts as made by the older code.
    """
    if before:
        return recorded(before) or {"scheme": SCHEME, "method": None, "data": None}
    return {"scheme": SCHEME, "method": method(settings), "data": data(settings), **parts(settings)}


def scheme(recorded: Fingerprint) -> Any:
    """The scheme of a recorded fingerprint. The first scheme recorded no number."""
    return recorded.get("scheme", 1)


def recorded(directory: Path | str) -> Fingerprint | None:
    """The fingerprint in a run directory; None if the run is older than fingerprints, or has not begun."""
    try:
        with open(f"{directory}/environment.json", "rb") as file:
            text = file.read()
        return of(loads(text)) if b'"fingerprint"' in text else None
    except (OSError, ValueError):
        return None


def of(environment: object) -> Fingerprint | None:
    """The fingerprint in the contents of environment.json."""
    found = environment.get("fingerprint") if isinstance(environment, dict) else None
    return found if isinstance(found, dict) else None


def data(settings: Mapping[str, Any]) -> str | None:
    """The digest of the installed files of the data set; None if one is missing."""
    from sobench.data import Store, sources

    dataset, place = settings["dataset"], settings.get("data") or {}
    try:
        store = Store.default(place.get("mirror"), place.get("cache"))
        checksums: list[str] = []
        for name in sources(dataset, store):
            of_source = store.checksums(name)
            if of_source is None:
                return None
            checksums += of_source
        vectors = dataset.get("vectors")
        if vectors and isinstance(vectors, str) and vectors not in store.sources:
            checksums.append(store.checksum(Path(vectors).expanduser()))
    except (OSError, UsageError):  # no such mirror, or an unreadable file
        return None
    return digest(checksums)
