"""The problem of a run: model, loss, data and metrics, made from the run's settings.

`Problem` gives the loop its mini-batches as objectives, gives each objective its training set, and evaluates the model.
Below it: the loss, the data set and the model that the settings name, and the metrics besides the loss.
"""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from itertools import count
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from sobench.config import registry, signature
from sobench.data import Dataset, Store, load
from sobench.data.dataset import held_out
from sobench.errors import UsageError
from sobench.losses import Loss
from sobench.models.initial import INITIAL
from sobench.objective import Objective
from sobench.objective.cost import Cost
from sobench.objective.network import seeded
from sobench.training.metrics import Metrics
from sobench.training.streams import Streams

OF_A_LOSS = ("takes", "bounds", "samples", "__call__", "hessian", "hessian_product", "hessian_root", "sample")
"""The members of a loss that sobench uses, see `sobench.losses.Loss`."""

CHUNK = 4096
"""The most samples in one pass over a whole set: at evaluation, and for `full()`."""

CACHED, FEWEST = 2**23, 64
"""On a CPU a pass over a whole set takes as many samples as keep CACHED bytes for the backward pass, and two bytes more
for each byte of the parameters, which every pass reads; but FEWEST at least. More samples leave the cache: LeNet-5,
VGG16 and ResNet32 take 1.7 to 2.4 times as long with 4,096. Fewer waste the matrix products of an autoencoder."""

Part = tuple[Tensor, Tensor]
"""Inputs [N, ...] and targets of N samples."""


class Problem:
    """Model, loss and data on one device.

    settings: the configuration of a run. train, test, validation: (inputs, targets) on the device, in the settings'
    dtype; validation is None unless the settings ask for one. data: one line that describes the data set, for the
    record. cost: the meter of all objectives of this problem. Raises UsageError for settings that do not go together,
    and Failure for data that cannot be obtained.
    """

    def __init__(self, settings: dict[str, Any], device: torch.device):
        dtype = getattr(torch, settings["dtype"])
        dataset = load_dataset(settings)
        _of_its_kind(settings["model"]["name"], dataset)  # refused before all else
        self.loss: Loss = load_loss(settings["loss"], dataset.symbols)
        self.data = str(dataset)
        self._reconstructs = settings["model"]["target"] == "input"
        self._binary = settings["model"]["target"] == "binary"
        self._augment = dataset.augment
        self._regression = dataset.classes is None and not self._reconstructs
        self._metric = mean_squared_error if self._reconstructs or self._regression else accuracy
        self._metric = per_character if dataset.kind == "characters" else self._metric
        self._check_loss(settings["loss"], dataset)
        self.train: Part = self._place(dataset.train, dataset.classes, device, dtype)
        self.test: Part = self._place(dataset.test, dataset.classes, device, dtype)
        self._check_targets(settings["loss"], dataset.name)
        self.streams = Streams(settings["seed"], device)
        self.validation = self._hold_out(settings["validation"], dataset, device, dtype)
        self.model = make_model(settings, dataset, self.streams).to(device=device, dtype=dtype).train()
        self.batch_size: int = settings["batch_size"]
        if settings["budget"].get("samples") is not None:  # the whole part is a batch if batches are larger
            self.batch_size = min(self.batch_size, self.samples)
        self.drop_last: bool = settings["drop_last"]
        self._fixed = settings["batches"] == "fixed"
        self.chunk: int = self._samples_at_once()
        self.cost = Cost()
        self._objective = Objective(
            self.model, self.loss, self._first(self.train), l2=settings["l2"], source=self, cost=self.cost
        )
        self._check_batch_size(dataset.name)
        self._own_metrics = Metrics(settings.get("metrics", ()))
        if self._own_metrics:
            self._check_own_metrics()

    @property
    def samples(self) -> int:
        """N, the number of training samples, without those held out for validation."""
        return len(self.train[0])

    @property
    def steps_per_epoch(self) -> int:
        """The number of mini-batches in an epoch."""
        whole, rest = divmod(self.samples, self.batch_size)
        return whole + (rest > 0 and not self.drop_last)

    # Mini-batches, for the loop

    def objectives(self, after: int = 0) -> Iterator[tuple[int, Objective]]:
        """(step, objective of its mini-batch) for step = after + 1, after + 2, ..., without end.

        Every epoch has its own random order. The batch of a step depends on the seed and the step alone.
        """
        per_epoch = self.steps_per_epoch
        for epoch in count(after // per_epoch):
            parts = self._epoch(epoch)
            for i in range(max(0, after - epoch * per_epoch), per_epoch):
                step = epoch * per_epoch + i + 1
                draws = self.streams.generator("augmentation", step) if self._augment else None
                key, part = parts[i]
                yield step, self._objective.on(self._batch(part, draws), self.streams.at(step), key)

    def differentiate_gradients(self) -> None:
        """Let the closure assign gradients that have a graph, for an optimizer that differentiates them."""
        self._objective.network.differentiates_gradients = True

    def _epoch(self, epoch: int) -> list[tuple[int | None, Tensor]]:
        """(key, indices) of every batch of an epoch.

        batches=reshuffled: a new random partition each epoch, whose batches have no key. batches=fixed: the same
        partition in every epoch, numbered by key, with its batches in a new random order.
        """
        order = torch.randperm(
            self.samples, generator=self.streams.generator("order", 0 if self._fixed else epoch, device="cpu")
        )
        parts = order.to(self.train[0].device).split(self.batch_size)[: self.steps_per_epoch]
        if not self._fixed:
            return [(None, part) for part in parts]
        turns = torch.randperm(len(parts), generator=self.streams.generator("order", epoch, 1, device="cpu"))
        return [(key, parts[key]) for key in turns.tolist()]

    def first_objective(self) -> Objective:
        """The objective of the first batch with the random streams of step 0, for estimates that precede step 1."""
        _, f = next(self.objectives())
        return f.on(f.batch, self.streams.at(0))

    def _batch(self, index: Tensor, generator: torch.Generator | None) -> Part:
        """The training samples at `index`, augmented with draws from `generator` if the data set is augmented."""
        inputs, targets = self.train
        x = self._augment(inputs[index], generator) if self._augment else inputs[index]
        return x, x.flatten(1) if self._reconstructs else targets[index]

    # The training set, for the objective

    def draw(self, samples: int, generator: torch.Generator | None) -> Part:
        """An independent batch of `samples` training samples, drawn without replacement."""
        device = self.train[0].device
        return self._batch(torch.randperm(self.samples, generator=generator, device=device)[:samples], generator)

    def batches(self, size: int, generator: torch.Generator | None) -> Iterator[Part]:
        """The training set once, in a random order, in batches of `size`. The remainder is dropped."""
        order = torch.randperm(self.samples, generator=generator, device=self.train[0].device)
        for i in range(0, self.samples - size + 1, size):
            yield self._batch(order[i : i + size], generator)

    def chunks(self) -> list[Part]:
        """The training set in order and without augmentation, in pieces of `chunk` samples.

        In training mode BatchNorm takes the statistics of a piece, so that f depends on its size: it is CHUNK there.
        """
        size = CHUNK if self._objective.network.couples_samples else self.chunk
        return list(zip(*(part.split(size) for part in self.train)))

    def _first(self, part: Part) -> Part:
        """The first samples of a set, as many as pass at once."""
        inputs, targets = part
        return inputs[: self.chunk], targets[: self.chunk]

    def _samples_at_once(self) -> int:
        """Samples in one pass over a whole set in evaluation mode: a power of 2."""
        inputs = self.train[0][:2]
        if inputs.device.type != "cpu":
            return CHUNK
        parameters = {p.data_ptr(): p.nbytes for p in self.model.parameters()}
        kept: dict[int, int] = {}

        def keep(tensor: Tensor) -> Tensor:
            kept[tensor.data_ptr()] = 0 if tensor.data_ptr() in parameters else tensor.nbytes
            return tensor

        with self._evaluating(), self.undone(), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            self.model(inputs)
        fitting = (CACHED + 2 * sum(parameters.values())) * len(inputs) / max(1, sum(kept.values()))
        return int(min(CHUNK, max(FEWEST, 2 ** round(math.log2(fitting)))))

    # Evaluation

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """The metrics of the training, test and (if there is one) validation set, in evaluation mode.

        Each set has `<set>_loss`, the mean loss with the penalty, and `<set>_accuracy` or `<set>_mse`. For a data set
        with real targets there are also `<set>_rmse` and `<set>_r2`. A metric of the user's own is `<set>_NAME`.
        """
        sets = [("train", self.train), ("test", self.test)]
        sets += [("validation", self.validation)] if self.validation else []
        with self._evaluating():
            return {f"{name}_{key}": value for name, part in sets for key, value in self._metrics(part).items()}

    @contextmanager
    def _evaluating(self) -> Iterator[None]:
        """The model in evaluation mode; in training mode again at the end of the context."""
        self.model.eval()
        try:
            yield
        finally:
            self.model.train()

    def _metrics(self, part: Part) -> dict[str, float]:
        """The metrics of one set: means over its samples, in double precision, chunk by chunk."""
        total: dict[str, Tensor] = {}
        every: list[Tensor] = []
        for inputs, targets in zip(*(tensor.split(self.chunk) for tensor in part)):
            outputs = self.model(inputs)
            every += [outputs] if self._own_metrics else []
            values = {"loss": self.loss(outputs, targets), **self._metric(self.loss, outputs, targets)}
            for key, value in values.items():
                total[key] = total.get(key, 0) + value.double() * (len(inputs) / len(part[0]))
        total["loss"] = total["loss"] + self._objective.penalty()
        if self._regression:
            total |= of_regression(total["mse"], part[1])
        own = self._own_metrics(torch.cat(every), part[1]) if every else {}
        return {key: value.item() for key, value in total.items()} | own

    @contextmanager
    def undone(self) -> Iterator[None]:
        """Restore the model's parameters, `.grad` and buffers, and torch's global random state, at the end of the
        context."""
        tensors = [*self.model.parameters(), *self.model.buffers()]
        values, grads = [t.detach().clone() for t in tensors], [p.grad for p in self.model.parameters()]
        devices = [tensors[0].device] if tensors[0].is_cuda else []
        try:
            with torch.random.fork_rng(devices):
                yield
        finally:
            with torch.no_grad():
                for t, value in zip(tensors, values):
                    t.copy_(value)
            for p, grad in zip(self.model.parameters(), grads):
                p.grad = grad

    def estimate_statistics(self) -> None:
        """Estimate BatchNorm's running statistics anew: the mean over the training set, at the present parameters.

        The training set is taken without augmentation, in chunks of equal size. Without BatchNorm nothing is done.
        """
        update_bn(self.train[0].tensor_split(math.ceil(self.samples / CHUNK)), self.model)

    # Placing the data

    def _place(self, part: Part, classes: int | None, device: torch.device, dtype: torch.dtype) -> Part:
        """(inputs, targets) on the device, with the targets that the model and the loss take.

        A loss of labels takes labels int64 [N], a loss of sequences labels int64 [N, T]. A loss of values takes
        floating point [N, K]: one-hot labels, one number 0 or 1 for model.target=binary, the inputs for
        model.target=input, or the data set's real targets.
        """
        inputs = part[0].to(device, dtype if part[0].is_floating_point() else part[0].dtype)  # word ids stay integers
        targets = inputs.flatten(1) if self._reconstructs else part[1].to(device)
        if self.loss.takes != "values":
            return inputs, targets
        if not targets.is_floating_point() and not self._binary:
            assert classes is not None  # integer targets are labels
            targets = F.one_hot(targets, classes)
        return inputs, targets.to(dtype).view(len(targets), -1)

    def _hold_out(self, share: float, dataset: Dataset, device: torch.device, dtype: torch.dtype) -> Part | None:
        """The validation set: the data set's own, or a share of the training samples drawn by the seed.

        Training samples that are drawn leave the training set. None for share 0. Raises UsageError if the share leaves
        either side empty.
        """
        if not share:
            return None
        if dataset.validation is not None:
            return self._place(dataset.validation, dataset.classes, device, dtype)
        count = held_out(self.samples, share)
        if not 0 < count < self.samples:
            raise UsageError(
                f"validation: got {share}, of {self.samples} training samples that leaves none on one side"
            )
        order = torch.randperm(self.samples, generator=self.streams.generator("validation", device="cpu")).to(device)
        for_validation, for_training = order[:count].sort().values, order[count:].sort().values
        inputs, targets = self.train
        self.train = inputs[for_training], targets[for_training]
        return inputs[for_validation], targets[for_validation]

    # Checks

    def _check_loss(self, name: str, dataset: Dataset) -> None:
        """Raises UsageError unless the data set has the targets that `model.target` and the loss take."""
        if self._reconstructs and dataset.kind != "numbers":
            able = "label or binary" if dataset.kind == "words" else "label"
            raise UsageError(f"model.target: got 'input', {dataset.name} has {dataset.kind}; allowed: {able}")
        if self._binary and dataset.classes != 2:
            kind = "real targets" if dataset.classes is None else f"{dataset.classes} classes"
            raise UsageError(f"model.target: got 'binary', {dataset.name} has {kind}; allowed: label, or two classes")
        if (self.loss.takes == "sequences") != (dataset.symbols is not None):
            labels = "no label at each position" if dataset.symbols is None else "a label at each position"
            able = losses_that(lambda loss: (loss.takes == "sequences") == (dataset.symbols is not None))
            raise UsageError(f"loss: got {name!r}, {dataset.name} has {labels}; allowed: {', '.join(able)}")
        if self.loss.takes == "labels" and (self._reconstructs or self._binary or dataset.classes is None):
            able = losses_that(lambda loss: loss.takes == "values")
            raise UsageError(f"loss: got {name!r}, the targets here are real numbers; allowed: {', '.join(able)}")

    def _check_targets(self, name: str, dataset: str) -> None:
        """Raises UsageError if a target is outside the bounds of the loss."""
        low, high = self.loss.bounds
        if self.loss.takes == "values" and any(t.min() < low or t.max() > high for _, t in (self.train, self.test)):
            raise UsageError(
                f"loss: {name} takes targets in [{low:g}, {high:g}], {dataset} has others; allowed: "
                "dataset.standardize=false, or another loss"
            )

    @torch.no_grad()
    def _check_own_metrics(self) -> None:
        """Raises UsageError unless each is a finite number for samples of the test set at the initial parameters."""
        inputs, targets = self._first(self.test)
        with self._evaluating():
            self._own_metrics.check(self.model(inputs), targets)

    def _check_batch_size(self, dataset: str) -> None:
        """Raises UsageError if an epoch would have no batch."""
        if self.drop_last and self.batch_size > self.samples:
            raise UsageError(
                f"batch_size: got {self.batch_size}, {dataset} has {self.samples} training samples; "
                f"allowed: at most {self.samples}, or drop_last=false"
            )


# The loss, the data set and the model that the settings name


def load_loss(name: str, symbols: str | None = None) -> Loss:
    """The loss of this name. Raises UsageError for a plug-in that is no loss.

    symbols: the characters of the data set; a loss with a parameter `symbols` is given their number.
    """
    with registry.calling("losses", name):
        made_by = registry.load("losses", name)
        given = {"symbols": len(symbols)} if symbols and "symbols" in inspect.signature(made_by).parameters else {}
        loss: Loss = made_by(**given)
    missing = [member for member in OF_A_LOSS if not hasattr(loss, member)]
    if missing:
        raise UsageError(
            f"{registry.named('losses', name)} has no {missing[0]}; allowed: a subclass of sobench.losses.Loss"
        )
    return loss


def losses_that(holds: Callable[[Loss], bool]) -> list[str]:
    """The names of the losses for which this holds; plug-ins that are no losses are left out."""
    names = []
    for name in registry.entries("losses"):
        with suppress(UsageError):
            names += [name] if holds(load_loss(name)) else []
    return names


def load_dataset(settings: dict[str, Any]) -> Dataset:
    """The data set of these settings, or the part of it that the budget allows.

    Raises UsageError and Failure as `sobench.data.load` does.
    """
    options = {key: value for key, value in settings["dataset"].items() if key != "name"}
    folders = settings["data"]
    dataset = _cached_dataset(
        settings["dataset"]["name"], json.dumps(options, sort_keys=True), folders["mirror"], folders["cache"]
    )
    return dataset.part(settings["budget"].get("samples"))


@lru_cache(maxsize=2)
def _cached_dataset(name: str, options: str, mirror: str | None, cache: str | None) -> Dataset:
    """A data set, kept in memory so that the runs of a sweep in one process read it once. options: as JSON."""
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in json.loads(options).items()}
    return load(name, values, Store.default(mirror, cache))


def make_model(settings: dict[str, Any], dataset: Dataset, streams: Streams) -> nn.Module:
    """The model of these settings on the CPU, with the initial parameters of the seed.

    torch's global random state is left alone. Raises UsageError for a model that does not take the data set's inputs,
    and for a plug-in that fails or returns something else than a model of these inputs and outputs.
    """
    name = settings["model"]["name"]
    options = {k: v for k, v in settings["model"].items() if k not in signature.RESERVED["model"]}
    outputs = {"input": torch.Size(dataset.input_shape).numel(), "binary": 1}.get(
        settings["model"]["target"], dataset.outputs
    )
    given = {"input_shape": dataset.input_shape, "outputs": outputs}
    given |= _of_its_kind(name, dataset)
    with seeded(streams.entropy("init"), torch.device("cpu")):
        model = signature.call("model", name, given, options)
        if registry.is_plugin("model", name):
            _check_made(model, name, dataset, outputs, getattr(torch, settings["dtype"]))
        INITIAL[settings["init"]](model)
    return model


def _check_made(model: Any, name: str, dataset: Dataset, outputs: int, dtype: torch.dtype) -> None:
    """Check what a plug-in made: a module with parameters, and its outputs for two samples. Changes its dtype.

    The pass also gives the parameters of lazy modules their values.
    """
    plugin = registry.named("models", name)
    if not isinstance(model, nn.Module):
        raise UsageError(f"{plugin} returned {type(model).__name__}; allowed: a torch.nn.Module")
    if not any(p.requires_grad for p in model.parameters()):
        raise UsageError(f"{plugin} has no parameter that requires a gradient: there is nothing to train")
    inputs = dataset.train[0][:2]
    inputs = inputs.to(dtype) if inputs.is_floating_point() else inputs
    with registry.calling("models", name):
        z = model.to(dtype).eval()(inputs)
    model.train()
    expected = [len(inputs), outputs]
    if not isinstance(z, Tensor) or list(z.shape) != expected:
        got = f"outputs {list(z.shape)}" if isinstance(z, Tensor) else type(z).__name__
        raise UsageError(
            f"{plugin} returns {got} for inputs {list(inputs.shape)}; allowed: outputs {expected}, one row for each "
            "sample"
        )


OF_A_KIND = {"words": "vectors", "characters": "symbols", "points": "coordinates"}
"""The parameter that a model of such data has, by the kind of a data set; a model of numbers has none of them."""


def _of_its_kind(model: str, dataset: Dataset) -> dict[str, Any]:
    """The argument of a model for the kind of the data set, by name; none for numbers.

    Raises UsageError if the model takes another kind of data.
    """
    parameters = inspect.signature(registry.load("models", model)).parameters
    takes = next((kind for kind, name in OF_A_KIND.items() if name in parameters), "numbers")
    if takes != dataset.kind:
        raise UsageError(
            f"model: {model} takes {takes}, {dataset.name} has {dataset.kind}; "
            f"allowed: a data set of {takes}, or a model of {dataset.kind}"
        )
    values = {"words": dataset.vectors, "characters": dataset.classes, "points": dataset.coordinates}
    return {OF_A_KIND[takes]: values[takes]} if takes in values else {}


# Metrics besides the loss: means over samples, so that chunks can be averaged


def accuracy(loss: Loss, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """`accuracy`, the share of samples whose largest output [N, C] is that of their class.

    targets: labels [N] or one-hot [N, C]. With one output and targets 0 or 1 [N, 1], the predicted class is 1 if the
    mean of p(t | z) is above 1/2.
    """
    if outputs.shape[1] == 1:
        return {"accuracy": ((loss.predict(outputs) > 0.5) == (targets.view_as(outputs) > 0.5)).double().mean()}
    labels = targets if targets.dim() == 1 else targets.argmax(1)
    return {"accuracy": (outputs.argmax(1) == labels).double().mean()}


def mean_squared_error(loss: Loss, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """`mse`, the mean over samples and outputs of (prediction - target)^2; the prediction is the mean of p(t | z)."""
    return {"mse": (loss.predict(outputs) - targets).square().mean()}


def per_character(loss: Loss, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """The metrics of a text: `accuracy`, `character_loss` and `bits_per_character`, means over all characters.

    outputs [N, T V], targets [N, T]. accuracy: the share of characters whose output is the largest. character_loss: the
    loss without penalty divided by T. bits_per_character: the same by the binary logarithm.
    """
    z = outputs.unflatten(1, (targets.shape[1], -1))
    nats = loss(outputs, targets) / targets.shape[1]
    return {
        "accuracy": (z.argmax(2) == targets).double().mean(),
        "character_loss": nats,
        "bits_per_character": nats / math.log(2),
    }


def of_regression(mse: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """`rmse` = sqrt(mse), and `r2` = 1 - mse / the variance of the targets [N, C] about their means, over all outputs.

    r2 is the coefficient of determination: 1 for exact predictions, 0 for those of the mean. It is left out for targets
    that are all alike. mse: in double precision.
    """
    variance = targets.double().var(0, correction=0).mean()
    return {"rmse": mse.sqrt()} | ({"r2": 1 - mse / variance} if variance > 0 else {})
