"""The objectives that an objective leads to: other labels, other batches, the whole training set."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch

from sobench.errors import Unsupported
from sobench.objective.cost import Cost

if TYPE_CHECKING:
    from sobench.objective import Objective


class RelatedObjectives:
    """A part of `sobench.objective.Objective`, which has the batch, the loss and the meter."""

    cost: Cost

    def sampled(self) -> Objective:
        """The same inputs with labels y ~ p(y | x) drawn from the model's own predictive distribution.

        Shares this objective's forward pass: `f.value_and_grad()`, then `f.sampled().value_and_grad()`, is one forward
        and two backwards. Raises Unsupported for a loss without a predictive distribution.
        """
        self.cost.used.add("sampled")
        outputs = self._pass(None).outputs.detach()
        targets = self.loss_function.sample(outputs, generator=self.generator("labels"))
        twin = self.twin((self.batch.inputs, targets))
        twin._kept = self._kept
        return twin

    def fresh(self, samples: int | None = None) -> Objective:
        """An independent batch, of the same size unless `samples` says otherwise. Raises Unsupported where there is no training
        set."""
        self.cost.used.add("fresh")
        return self.twin(self._source().draw(samples or len(self), self.generator("fresh")))

    def batches(self) -> Iterator[Objective]:
        """The training set once, in a random order, in batches of this one's size (a remainder is dropped), for what is
        estimated before the first step; without a training set, this batch alone."""
        self.cost.used.add("batches")
        if self.source is None:
            yield self
            return
        for batch in self.source.batches(len(self), self.generator("fresh")):
            yield self.twin(batch)

    def full(self) -> Objective:
        """The whole training set, evaluated in chunks. Raises Unsupported where there is none."""
        from sobench.objective.full import FullObjective  # a subclass of Objective

        self.cost.used.add("full")
        return FullObjective(self, self._source().chunks())

    def generator(self, stream: str) -> torch.Generator | None:
        """The next generator of a random stream at this step; None, torch's global one, outside the harness."""
        return None if self.streams is None else self.streams.generator(stream)

    def _source(self):
        if self.source is None:
            raise Unsupported("fresh() and full() need a training set: give Objective(..., source=...)")
        return self.source
