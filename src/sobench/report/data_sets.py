"""The data sets of a report's runs: the rows that the runs used, and what a reader must know of a set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from sobench.config.by_path import short_name
from sobench.config.run import Run
from sobench.data.dataset import described
from sobench.data.sources import declared
from sobench.system.text import plural

_LOOK_ALIKE = "_synthetic"
"""The end of the name of a data set that stands in for another."""
_WORDS = {"train": "training", "validation": "validation", "test": "test"}


def data_sets(runs: Sequence[Run], environments: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """An entry for each set, of the rows that the runs used: `train`, `validation`, `test`, `note`, `runs`.

    own: the rows of the set's own training and test set, if they are more. Runs that recorded no description, made by
    older code, have an entry without rows; so has a set of which no run was started, with runs 0.
    """
    counts: Counter[tuple[str, float, str]] = Counter()
    for run in runs:
        environment = environments.get(run.id) or {}
        text = str(environment.get("data", ""))
        counts[named(run.config.get("dataset")), run.config.get("validation") or 0.0, text] += bool(environment)
    found: dict[tuple, dict[str, Any]] = {}
    for (name, held_out, text), count in counts.items():
        entry = {"name": name, **_rows(text, held_out)}
        found.setdefault(tuple(map(str, entry.items())), {**entry, "runs": 0})["runs"] += count
    with_runs = {entry["name"] for entry in found.values() if entry["runs"]}
    return [entry for entry in found.values() if entry["runs"] or entry["name"] not in with_runs]


def line(entries: Sequence[Mapping[str, Any]]) -> str:
    """ "cifar10: 50,000 training and 1,000 test rows (its own test set has 10,000)" """
    names = [entry["name"] for entry in entries]
    texts = []
    for entry in entries:
        count = f" ({plural(entry['runs'], 'run')})" if names.count(entry["name"]) > 1 else ""
        texts.append(entry["name"] + count + _stand_in(entry["name"]) + ": " + _described(entry))
    return "; ".join(texts)


def named(group: object) -> str:
    """The name of a data set; of a loader of many sets, with the set: "libsvm (webspam)"."""
    if not isinstance(group, Mapping):
        return str(group)
    return short_name(str(group.get("name"))) + (f" ({group['set']})" if group.get("set") else "")


def _rows(text: str, held_out: float) -> dict[str, Any]:
    """The rows of a set that is described so. held_out: the share of the training rows for validation."""
    found = described(text)
    if found is None:
        return {}
    used, source = found.held_out(held_out), declared().get(found.name)
    own = source.rows if source else ()
    smaller = any(rows < of for rows, of in zip((found.train, found.test), own, strict=False))
    return {
        "train": used.train,
        "validation": used.validation,
        "test": used.test,
        **({"own": list(own)} if smaller else {}),
        **({"note": used.note} if used.note else {}),
    }


def _stand_in(name: str) -> str:
    of = name.removesuffix(_LOOK_ALIKE)
    return f", which stands in for {of.upper()}" if of != name else ""


def _described(entry: Mapping[str, Any]) -> str:
    if "train" not in entry:
        return "rows not recorded" if entry["runs"] else "no run was started"
    parts = [f"{entry[part]:,} {word}" for part, word in _WORDS.items() if entry[part]]
    text = f"{', '.join(parts[:-1])} and {parts[-1]} rows"
    if own := entry.get("own"):
        text += f" (the whole set has {own[0]:,} training and {own[1]:,} test rows)"
    return text + (f"; {entry['note']}" if entry.get("note") else "")
