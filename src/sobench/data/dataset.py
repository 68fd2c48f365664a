"""The Dataset that every loader returns. Importing this module imports no torch."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sobench.errors import UsageError

if TYPE_CHECKING:
    from torch import Generator, Tensor


@dataclass(frozen=True, eq=False)
class Dataset:
    """A training and a test set in memory, on the CPU. Loaders may share tensors between calls: do not write to them.

    name: the data set's name in the record.
    train, test: (inputs, targets). Inputs are floating point [N, ...], or ids int64 [N, L] of words or characters.
        Targets are int64 labels in 0..classes-1, [N], or of characters [N, L]; or floating point [N, ...] with
        `classes` None.
    classes: the number of classes, or None.
    augment: augment(inputs [N, ...], generator) returns a random variant of a training batch; or None.
    validation: a third set, where one is published with the two; or None.
    vectors: the initial word vectors of texts, float32 [V, D] with a row for each id; or None.
    coordinates: for samples that are linear functions of an unknown function, the number d of its arguments: an input
        is [x_1, ..., x_d, c_0, c_2]; see `sobench.models.pinn`. None for other data.
    note: an addition to the description.
    symbols: the characters of a text, of which each input is one and each label the next one; or None.

    Raises UsageError if a set is not a pair of tensors of these types, inputs and targets do not fit together, a set is
    empty, a value is not finite, or a label is none of the classes.
    """

    name: str
    train: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]
    classes: int | None
    augment: Callable[[Tensor, Generator | None], Tensor] | None = None
    validation: tuple[Tensor, Tensor] | None = None
    vectors: Tensor | None = None
    coordinates: int | None = None
    note: str = ""
    symbols: str | None = None

    def __post_init__(self) -> None:
        parts = {"train": self.train, "test": self.test} | ({"validation": self.validation} if self.validation else {})
        if not (self.classes is None or isinstance(self.classes, int) and self.classes > 0):
            raise UsageError(f"{self.name}: classes: got {self.classes!r}, allowed: the number of classes, or None")
        for part, pair in parts.items():
            self._check_kinds(part, pair)
        for part, (inputs, targets) in parts.items():
            if len(inputs) != len(targets):
                raise UsageError(f"{self.name}: {part} has {len(inputs)} inputs but {len(targets)} targets")
            for kind, tensor, model in zip(("inputs", "targets"), (inputs, targets), self.train, strict=True):
                if not tensor.numel():
                    raise UsageError(f"{self.name}: {part} is empty: its {kind} have shape {list(tensor.shape)}")
                if tensor.shape[1:] != model.shape[1:]:
                    shapes = f"{list(model.shape[1:])} in train, {list(tensor.shape[1:])} in {part}"
                    raise UsageError(f"{self.name}: one of the {kind} has shape {shapes}: they must be equal")
                self._check_values(part, kind, tensor)

    def _check_kinds(self, part: str, pair: object) -> None:
        """Whether a set is a pair of tensors with the types that this data set has."""
        import torch

        if not (isinstance(pair, (tuple, list)) and len(pair) == 2 and all(isinstance(t, torch.Tensor) for t in pair)):
            kinds = [type(t).__name__ for t in pair] if isinstance(pair, (tuple, list)) else type(pair).__name__
            got = f"({', '.join(kinds)})" if isinstance(kinds, list) else kinds
            raise UsageError(f"{self.name}: {part} is {got}; allowed: (inputs, targets), two torch tensors")
        inputs, targets = pair
        types = [str(tensor.dtype).removeprefix("torch.") for tensor in pair]
        ids = self.kind in ("words", "characters")
        if inputs.dim() < 1 or not (inputs.is_floating_point() or ids and inputs.dtype is torch.int64):
            raise UsageError(
                f"{self.name}: the inputs of {part} are {types[0]} {list(inputs.shape)}; allowed: "
                + (f"ids of {self.kind}, int64 [N, L]" if ids else "floating point [N, ...]: inputs.float()")
            )
        if self.symbols is not None:
            if targets.dtype is not torch.int64 or targets.shape != inputs.shape or inputs.dim() != 2:
                raise UsageError(
                    f"{self.name}: the labels of {part} are {types[1]} {list(targets.shape)} for inputs "
                    f"{list(inputs.shape)}; allowed: int64, a label for each character [N, L]"
                )
        elif self.classes is not None and (targets.dtype is not torch.int64 or targets.dim() != 1):
            raise UsageError(
                f"{self.name}: the labels of {part} are {types[1]} {list(targets.shape)}; allowed: int64 [N], "
                "or classes=None for real targets"
            )
        if self.classes is None and (targets.dim() < 1 or not targets.is_floating_point()):
            raise UsageError(
                f"{self.name}: the targets of {part} are {types[1]} {list(targets.shape)}; allowed: floating point "
                "[N, ...], or the number of classes for labels"
            )

    def _check_values(self, part: str, kind: str, tensor: Tensor) -> None:
        low, high = (bound.item() for bound in tensor.aminmax())  # NaN if one value is
        if not (math.isfinite(low) and math.isfinite(high)):
            raise UsageError(f"{self.name}: the {kind} of {part} have values from {low} to {high}; allowed: finite")
        if kind == "targets" and self.classes is not None and not 0 <= low <= high < self.classes:
            raise UsageError(f"{self.name}: {part} has labels from {low} to {high}; allowed: 0 to {self.classes - 1}")

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one input, for instance (1, 28, 28)."""
        return tuple(self.train[0].shape[1:])

    @property
    def kind(self) -> str:
        """What the inputs are: words, characters, points of an equation, or numbers."""
        kinds = {"words": self.vectors, "characters": self.symbols, "points": self.coordinates}
        return next((kind for kind, value in kinds.items() if value is not None), "numbers")

    @property
    def outputs(self) -> int:
        """The number of outputs of a model: one per class and label, or one per number of a floating-point target."""
        numbers = self.train[1][0].numel()
        return numbers if self.classes is None else numbers * self.classes

    def part(self, samples: int | None) -> Dataset:
        """The data set with at most `samples` samples of each of its sets; None: the whole data set.

        The samples are evenly spaced, as some sets are sorted by class: sample i of n is number floor(i N / n) of N.
        """
        if samples is None or samples >= max(len(self.train[0]), len(self.test[0])):
            return self

        def of(part: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
            total = len(part[0])
            chosen = [i * total // samples for i in range(samples)]
            return part if samples >= total else (part[0][chosen], part[1][chosen])

        note = ", ".join(text for text in (self.note, "evenly spaced samples") if text)
        validation = of(self.validation) if self.validation else None
        return replace(self, train=of(self.train), test=of(self.test), validation=validation, note=note)

    def __str__(self) -> str:
        """The description in the record: name, numbers of samples, shape of the inputs, classes, and the note."""
        kind = f"{self.classes} classes" if self.classes is not None else f"{self.outputs} real targets"
        shape = "x".join(map(str, self.input_shape))
        size = f"of {shape} {self.kind}" if self.kind in ("words", "characters") else shape
        chosen = f"{len(self.validation[0])} validation, " if self.validation else ""
        text = f"{self.name}: {len(self.train[0])} train, {chosen}{len(self.test[0])} test, inputs {size}, {kind}"
        return f"{text}, {self.note}" if self.note else text


@dataclass(frozen=True)
class Description:
    """What the description of a data set says: its name, the rows of its sets, and the note."""

    name: str
    train: int
    validation: int
    test: int
    note: str = ""

    def held_out(self, share: float) -> Description:
        """The rows that a run with this share for validation uses: of the training set, or the set's own."""
        if not share:
            return replace(self, validation=0)
        count = 0 if self.validation else held_out(self.train, share)
        return replace(self, train=self.train - count, validation=self.validation or count)


_DESCRIPTION = re.compile(
    r"(?P<name>.+?): (?P<train>\d+) train, (?:(?P<validation>\d+) validation, )?(?P<test>\d+) test, "
    r"inputs .+?, \d+ (?:classes|real targets)(?:, (?P<note>.*))?"
)


def described(text: str) -> Description | None:
    """What the description of a data set in the record of a run says, see `Dataset.__str__`; None for another text."""
    match = _DESCRIPTION.fullmatch(text)
    if match is None:
        return None
    train, validation, test = (int(match[part] or 0) for part in ("train", "validation", "test"))
    return Description(match["name"], train, validation, test, match["note"] or "")


def held_out(rows: int, share: float) -> int:
    """The number of training rows that are held out for validation."""
    return round(share * rows)
