"""Data sets: their declaration (`sources.yaml`), the location of their files (`Store`), and one loader per data set.

A loader is a function `name(store, *, option=default, ...) -> Dataset` in the entry-point group `sobench.datasets`.
Its options are the keys of `conf/dataset/<name>.yaml` besides `name`; one that needs no files has no parameter `store`.
Importing this package imports no torch.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from sobench.config import registry, signature
from sobench.data.dataset import Dataset
from sobench.data.sources import Source
from sobench.data.store import Store
from sobench.errors import Failure, UsageError

__all__ = ["Dataset", "Store", "at_hand", "load", "prepare", "sources"]


def prepare(dataset: Mapping[str, Any], store: Store) -> None:
    """Make every declared file of a data set available, by download if necessary.

    dataset: the data set's name and options, as configured. Raises Failure with a line for each source that cannot be
    obtained.
    """
    failures = []
    for source in sources(dataset, store):
        try:
            if folders := store.source(source).folders:
                store.folder(source, *folders)
            store.paths(source)
        except Failure as failure:
            failures.append(str(failure))
    if failures:
        raise Failure("\n".join(failures))


def at_hand(dataset: Mapping[str, Any], store: Store) -> bool:
    """Whether a data set, as configured, can be read without a download."""
    return all(map(store.at_hand, sources(dataset, store)))


def sources(dataset: Mapping[str, Any], store: Store) -> list[str]:
    """The names of the declared sources that a data set is read from: its own, and that of its word vectors.

    dataset: the data set's name and options, as configured.
    """
    own = "-".join(str(dataset[key]) for key in ("name", "set") if key in dataset)
    names = [own]
    if dataset.get("vectors") is not None:
        names.append(str(dataset["vectors"]))
    return [name for name in names if name in store.sources]


def load(name: str, options: dict[str, Any], store: Store) -> Dataset:
    """The data set `name`, loaded by its loader with `options`.

    Raises UsageError for an unknown name or option, a missing option, a damaged file that the user provided, or a
    plug-in that fails or returns something else. Raises Failure for a file that cannot be obtained or does not hold the
    data set, all of it.
    """
    loader = registry.load("datasets", name)
    parameters = inspect.signature(loader).parameters
    allowed = {
        key: option.default
        for key, option in parameters.items()
        if key != "store" and option.kind not in (option.VAR_POSITIONAL, option.VAR_KEYWORD)
    }
    for key, value in options.items():
        if key not in allowed:
            raise UsageError(f"dataset.{key}: no such option of {name}, {registry.suggestion(key, allowed)}")
        if isinstance(allowed[key], bool) and not isinstance(value, bool):
            raise UsageError(f"dataset.{key}: got {value!r}, allowed: true, false")
    missing = [key for key, default in allowed.items() if default is inspect.Parameter.empty and key not in options]
    if missing:
        raise UsageError(f"dataset.{missing[0]}: {name} needs a value for it")
    dataset = signature.call("dataset", name, {"store": store}, options)
    if not isinstance(dataset, Dataset):
        raise UsageError(
            f"{registry.named('datasets', name)} returned {type(dataset).__name__}; allowed: a sobench.data.Dataset"
            ", as Dataset(NAME, (inputs, labels), (test_inputs, test_labels), classes=3)"
        )
    for source in sources({"name": name, **options}, store)[:1]:
        _check_complete(dataset, store.source(source), store)
    return dataset


def _check_complete(dataset: Dataset, source: Source, store: Store) -> None:
    """Raises Failure for files whose rows or classes are not those that are published, such as half of an archive."""
    if not source.files or (source.partial_stand_in and store.stand_in(source.name)):
        return
    for part, (_, targets), rows in zip(("training", "test"), (dataset.train, dataset.test), source.rows, strict=False):
        counts = targets.bincount(minlength=dataset.classes).tolist() if dataset.classes else [len(targets)]
        found, allowed = f"{len(targets):,} samples", f"{rows:,}"
        if source.balanced:
            found, allowed = (
                f"{found}, {_range(counts)} of a class",
                f"{allowed}, {rows // len(counts):,} of each class",
            )
        if len(targets) != rows or (source.balanced and len({*counts}) > 1):
            files = " and ".join(map(str, store.paths(source.name)))
            raise Failure(
                f"{source.name}: the {part} set of {files} has {found}; allowed: {allowed}; a part of the data is "
                "missing, or it is another file"
            )


def _range(counts: list[int]) -> str:
    low, high = min(counts), max(counts)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
