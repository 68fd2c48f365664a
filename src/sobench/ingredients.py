"""What a problem is made of: the data set and the model that a run's settings name."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from torch import nn

from sobench import garbage, registry
from sobench.data import Dataset, Store, load
from sobench.errors import UsageError
from sobench.models.initial import INITIAL
from sobench.network import seeded
from sobench.streams import Streams


def dataset(settings: dict[str, Any]) -> Dataset:
    """The data set of these settings. Raises UsageError and Failure, as it does."""
    options = {k: tuple(v) if isinstance(v, list) else v for k, v in settings["dataset"].items() if k != "name"}
    place = settings["data"]
    return _cached_dataset(settings["dataset"]["name"], tuple(sorted(options.items())), place["mirror"], place["cache"])


@lru_cache(maxsize=2)
def _cached_dataset(name: str, options: tuple, mirror, cache) -> Dataset:
    """A sweep in one process reads a data set once."""
    with garbage.put_off():
        return load(name, dict(options), Store.default(mirror, cache))


def model(settings: dict[str, Any], dataset: Dataset, streams: Streams) -> nn.Module:
    """The model with the initial parameters of this seed; torch's global random state is left alone.
    Raises UsageError for a model that does not take what the data set has."""
    options = {k: v for k, v in settings["model"].items() if k not in ("name", "loss", "target")}
    inputs = dataset.input_shape
    outputs = {"input": torch.Size(inputs).numel(), "binary": 1}.get(settings["model"]["target"], dataset.outputs)
    build = registry.load("models", settings["model"]["name"])
    if _takes_words(build, settings["model"]["name"], dataset):
        options["vectors"] = dataset.vectors
    with seeded(streams.entropy("init"), torch.device("cpu")):
        made = build(inputs, outputs, **options)
        INITIAL[settings["init"]](made)
    return made


def _takes_words(build: Callable, model: str, dataset: Dataset) -> bool:
    """Whether the model is one of texts: it takes `vectors`. Raises UsageError unless the data set is what it takes."""
    words = "vectors" in inspect.signature(build).parameters
    kinds = ("numbers", "words")
    if words != (dataset.vectors is not None):
        raise UsageError(f"model: {model} takes {kinds[words]}, {dataset.name} has {kinds[not words]}; "
                         f"allowed: a data set of {kinds[words]}, or a model of {kinds[not words]}")
    return words
