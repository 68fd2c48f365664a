"""A problem is a model, a loss, data and metrics: what one run trains, made from its settings.

What a problem is made of: the data set and the model that a run's settings name.

What is measured on a whole set besides the loss: each a mean over samples, so that chunks can be averaged.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import count
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sobench.config import registry
from sobench.data import Dataset, Store, load
from sobench.errors import UsageError
from sobench.models.initial import INITIAL
from sobench.objective import Objective
from sobench.objective.cost import Cost
from sobench.objective.network import seeded
from sobench.system import interpreter
from sobench.training.streams import Streams

CHUNK = 4096
"""Samples in one pass over a whole set: evaluation, and `full()`."""


class Problem:
    """Model, loss and data on one device; `objectives()` are the mini-batches in order, `evaluate()` the metrics."""

    def __init__(self, settings: dict[str, Any], device: torch.device):
        dtype = getattr(torch, settings["dtype"])
        self.loss = registry.load("losses", settings["loss"])()
        dataset = load_dataset(settings)
        self.data = str(dataset)
        self._reconstructs = settings["model"]["target"] == "input"
        self._binary = settings["model"]["target"] == "binary"
        self._augment = dataset.augment
        self._metric = mean_squared_error if self._reconstructs or dataset.classes is None else accuracy
        self._check_loss(settings["loss"], dataset)
        self.train, self.test = (
            self._place(part, dataset.classes, device, dtype) for part in (dataset.train, dataset.test)
        )
        self._check_targets(settings["loss"], dataset.name)
        self.streams = Streams(settings["seed"], device)
        self.validation = self._hold_out(settings["validation"], dataset, device, dtype)
        self.model = make_model(settings, dataset, self.streams).to(device=device, dtype=dtype).train()
        self.batch_size, self.drop_last, self._fixed = (
            settings["batch_size"],
            settings["drop_last"],
            settings["batches"] == "fixed",
        )
        self.cost = Cost()
        self._objective = Objective(
            self.model, self.loss, self.chunks()[0], l2=settings["l2"], source=self, cost=self.cost
        )
        self._check_batch_size(dataset.name)

    @property
    def samples(self) -> int:
        return len(self.train[0])

    @property
    def steps_per_epoch(self) -> int:
        whole, rest = divmod(self.samples, self.batch_size)
        return whole + (rest > 0 and not self.drop_last)

    def objectives(self, after: int = 0) -> Iterator[tuple[int, Objective]]:
        """(step, f) for step = after + 1, after + 2, ...: each epoch in its own random order, without end."""
        per_epoch = self.steps_per_epoch
        for epoch in count(after // per_epoch):
            parts = self._epoch(epoch)
            for i in range(max(0, after - epoch * per_epoch), per_epoch):
                step = epoch * per_epoch + i + 1
                draws = self.streams.generator("augmentation", step) if self._augment else None
                key, part = parts[i]
                yield step, self._objective.on(self._batch(part, draws), self.streams.at(step), key)

    def _epoch(self, epoch: int) -> list[tuple[int | None, Tensor]]:
        """(key, indices) of every batch of an epoch: a new random partition; or one that is fixed, its batches in a new order."""
        order = torch.randperm(
            self.samples, generator=self.streams.generator("order", 0 if self._fixed else epoch, device="cpu")
        )
        parts = order.to(self.train[0].device).split(self.batch_size)[: self.steps_per_epoch]
        if not self._fixed:
            return [(None, part) for part in parts]
        turns = torch.randperm(len(parts), generator=self.streams.generator("order", epoch, 1, device="cpu"))
        return [(key, parts[key]) for key in turns.tolist()]

    def first_objective(self) -> Objective:
        """The objective of the first batch with random streams of its own, for what an optimizer estimates before step 1."""
        _, f = next(self.objectives())
        return f.on(f.batch, self.streams.at(0))

    def draw(self, samples: int, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """An independent batch of the training set: the objective's `fresh()`."""
        device = self.train[0].device
        return self._batch(torch.randperm(self.samples, generator=generator, device=device)[:samples], generator)

    def batches(self, size: int, generator: torch.Generator | None) -> Iterator[tuple[Tensor, Tensor]]:
        """The training set once, in a random order, in batches of `size`; the remainder is dropped: the objective's
        `batches()`."""
        order = torch.randperm(self.samples, generator=generator, device=self.train[0].device)
        for i in range(0, self.samples - size + 1, size):
            yield self._batch(order[i : i + size], generator)

    def chunks(self) -> list[tuple[Tensor, Tensor]]:
        """The training set in order, in large pieces: the objective's `full()`."""
        return list(zip(*(part.split(CHUNK) for part in self.train)))

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Mean loss (with the penalty) and accuracy or mean squared error, on all of the training, validation and test set."""
        self.model.eval()
        try:
            sets = [("train", self.train), ("test", self.test)]
            sets += [("validation", self.validation)] if self.validation else []
            return {f"{name}_{key}": value for name, part in sets for key, value in self._metrics(part).items()}
        finally:
            self.model.train()

    def _metrics(self, part: tuple[Tensor, Tensor]) -> dict[str, float]:
        total: dict[str, Tensor] = {}
        for inputs, targets in zip(*(tensor.split(CHUNK) for tensor in part)):
            outputs = self.model(inputs)
            values = {"loss": self.loss(outputs, targets), **self._metric(self.loss, outputs, targets)}
            for key, value in values.items():
                total[key] = total.get(key, 0) + value.double() * (len(inputs) / len(part[0]))
        total["loss"] = total["loss"] + self._objective.penalty()
        return {key: value.item() for key, value in total.items()}

    def _batch(self, index, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """Those samples of the training set, augmented with draws from `generator` where the data set says so."""
        inputs, targets = self.train
        x = self._augment(inputs[index], generator) if self._augment else inputs[index]
        return x, x.flatten(1) if self._reconstructs else targets[index]

    def _hold_out(
        self, share: float, dataset: Dataset, device: torch.device, dtype: torch.dtype
    ) -> tuple[Tensor, Tensor] | None:
        """The validation set: the data set's own, or a share of the training samples, drawn by the seed; None for share 0."""
        if not share:
            return None
        if dataset.validation is not None:
            return self._place(dataset.validation, dataset.classes, device, dtype)
        count = round(share * self.samples)
        if not 0 < count < self.samples:
            raise UsageError(
                f"validation: got {share}, of {self.samples} training samples that leaves none on one side"
            )
        order = torch.randperm(self.samples, generator=self.streams.generator("validation", device="cpu")).to(device)
        held, kept = order[:count].sort().values, order[count:].sort().values
        validation, self.train = (tuple(part[index] for part in self.train) for index in (held, kept))
        return validation

    def _place(self, part, classes: int | None, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """(inputs, targets) on the device, with the targets that the model and the loss are about."""
        inputs = part[0].to(
            device, dtype if part[0].is_floating_point() else part[0].dtype
        )  # word ids stay what they are
        targets = inputs.flatten(1) if self._reconstructs else part[1].to(device)
        if self.loss.takes == "labels":
            return inputs, targets
        if not targets.is_floating_point() and not self._binary:
            targets = F.one_hot(targets, classes)
        return inputs, targets.to(dtype).view(len(targets), -1)

    def _check_loss(self, name: str, dataset: Dataset) -> None:
        if self._reconstructs and dataset.vectors is not None:
            raise UsageError(f"model.target: got 'input', {dataset.name} has words; allowed: label or binary")
        if self._binary and dataset.classes != 2:
            found = "real targets" if dataset.classes is None else f"{dataset.classes} classes"
            raise UsageError(f"model.target: got 'binary', {dataset.name} has {found}; allowed: label, or two classes")
        if self.loss.takes == "labels" and (self._reconstructs or self._binary or dataset.classes is None):
            able = [other for other in registry.entries("losses") if registry.load("losses", other).takes == "values"]
            raise UsageError(f"loss: got {name!r}, the targets here are real numbers; allowed: {', '.join(able)}")

    def _check_targets(self, name: str, dataset: str) -> None:
        low, high = self.loss.bounds
        if self.loss.takes == "values" and any(t.min() < low or t.max() > high for _, t in (self.train, self.test)):
            raise UsageError(
                f"loss: {name} takes targets in [{low:g}, {high:g}], {dataset} has others; allowed: "
                "dataset.standardize=false, or another loss"
            )

    def _check_batch_size(self, dataset: str) -> None:
        if self.drop_last and self.batch_size > self.samples:
            raise UsageError(
                f"batch_size: got {self.batch_size}, {dataset} has {self.samples} training samples; "
                f"allowed: at most {self.samples}, or drop_last=false"
            )


def load_dataset(settings: dict[str, Any]) -> Dataset:
    """The data set of these settings. Raises UsageError and Failure, as it does."""
    options = {k: tuple(v) if isinstance(v, list) else v for k, v in settings["dataset"].items() if k != "name"}
    place = settings["data"]
    return _cached_dataset(settings["dataset"]["name"], tuple(sorted(options.items())), place["mirror"], place["cache"])


@lru_cache(maxsize=2)
def _cached_dataset(name: str, options: tuple, mirror, cache) -> Dataset:
    """A sweep in one process reads a data set once."""
    with interpreter.put_off():
        return load(name, dict(options), Store.default(mirror, cache))


def make_model(settings: dict[str, Any], dataset: Dataset, streams: Streams) -> nn.Module:
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
        raise UsageError(
            f"model: {model} takes {kinds[words]}, {dataset.name} has {kinds[not words]}; "
            f"allowed: a data set of {kinds[words]}, or a model of {kinds[not words]}"
        )
    return words


def accuracy(loss, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """Share of samples whose largest output is their class; targets are labels [N] or one-hot [N, C].

    Of one output, targets 0 or 1 [N, 1]: the class is 1 where the mean of p(t | z) is above 1/2.
    """
    if outputs.shape[1] == 1:
        return {"accuracy": ((loss.predict(outputs) > 0.5) == (targets.view_as(outputs) > 0.5)).double().mean()}
    labels = targets if targets.dim() == 1 else targets.argmax(1)
    return {"accuracy": (outputs.argmax(1) == labels).double().mean()}


def mean_squared_error(loss, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """Mean over samples and outputs of (prediction - target)^2, the prediction being the mean of p(t | z)."""
    return {"mse": (loss.predict(outputs) - targets).square().mean()}
