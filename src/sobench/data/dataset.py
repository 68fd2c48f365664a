"""What every loader returns. torch itself is not imported."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sobench.errors import UsageError

if TYPE_CHECKING:
    from torch import Generator, Tensor


@dataclass(frozen=True, eq=False)
class Dataset:
    """A training and a test set in memory, on the CPU. Loaders may share them between calls: do not write to them.

    train, test, validation: (inputs [N, ...] floating point, targets); targets are int64 labels [N] in 0..classes-1, or
    floating point [N, ...] with `classes` None. validation: a set to choose by, where one is published beside the two.
    augment(inputs [N, ...], generator): a random variant of a training batch, or None. vectors: with texts, whose inputs
    are word ids int64 [N, L], the word vectors float32 [V, D] to start from, a row an id; else None. note: more to say of it.
    Raises UsageError when inputs and targets do not fit together.
    """

    name: str
    train: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]
    classes: int | None
    augment: Callable[[Tensor, Generator | None], Tensor] | None = None
    validation: tuple[Tensor, Tensor] | None = None
    vectors: Tensor | None = None
    note: str = ""

    def __post_init__(self) -> None:
        parts = {"train": self.train, "test": self.test} | ({"validation": self.validation} if self.validation else {})
        for part, (inputs, targets) in parts.items():
            if len(inputs) != len(targets):
                raise UsageError(f"{self.name}: {part} has {len(inputs)} inputs but {len(targets)} targets")
            for kind, tensor, model in zip(("inputs", "targets"), (inputs, targets), self.train, strict=True):
                if not tensor.numel():
                    raise UsageError(f"{self.name}: {part} is empty: its {kind} have shape {list(tensor.shape)}")
                if tensor.shape[1:] != model.shape[1:]:
                    shapes = f"{list(model.shape[1:])} in train, {list(tensor.shape[1:])} in {part}"
                    raise UsageError(f"{self.name}: one of the {kind} has shape {shapes}: they must be equal")

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input, for instance (1, 28, 28)."""
        return tuple(self.train[0].shape[1:])

    @property
    def outputs(self) -> int:
        """How many outputs a model needs: one per class, or one per number of a floating-point target."""
        return self.classes if self.classes is not None else self.train[1][0].numel()

    def __str__(self) -> str:
        kind = f"{self.classes} classes" if self.classes is not None else f"{self.outputs} real targets"
        size = f"of {self.input_shape[0]} words" if self.vectors is not None else "x".join(map(str, self.input_shape))
        chosen = f"{len(self.validation[0])} validation, " if self.validation else ""
        text = f"{self.name}: {len(self.train[0])} train, {chosen}{len(self.test[0])} test, inputs {size}, {kind}"
        return f"{text}, {self.note}" if self.note else text
