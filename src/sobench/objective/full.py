"""The whole training set as one objective, evaluated chunk by chunk."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from sobench.errors import Unsupported
from sobench.linalg.complex_step import STEP
from sobench.linalg.operator import LinearOperator
from sobench.objective import Objective
from sobench.objective.taylor.partition import Partition
from sobench.objective.taylor_oracles import Summary


class FullObjective(Objective):
    """The mean over the chunks of a training set, each weighted by its size.

    Nothing is linearised once: a product makes its own pass over every chunk, so memory is that of one chunk.
    """

    def __init__(self, part: Objective, chunks: list):
        self.__dict__.update(part.twin(part.batch).__dict__)
        self._part, self._chunks = part, chunks
        self._samples = sum(len(inputs) for inputs, _ in chunks)

    def __len__(self) -> int:
        return self._samples

    def __call__(self) -> Tensor:
        """The closure over the whole set; commits BatchNorm's statistics once a chunk."""
        loss, total = 0.0, None
        for weight, f in self._parts():
            loss = loss + weight * f()
            grads = [weight * p.grad for p in self.space.parameters]
            total = grads if total is None else torch._foreach_add(total, grads)
        for p, g in zip(self.space.parameters, total):
            p.grad = g
        return loss

    def loss(self, at: Tensor | None = None) -> Tensor:
        return sum(weight * f.loss(at) for weight, f in self._parts())

    def value_and_grad(self, at: Tensor | None = None) -> tuple[Tensor, Tensor]:
        loss, g = 0.0, 0.0
        for weight, f in self._parts():
            part_loss, part_g = f.value_and_grad(at)
            loss, g = loss + weight * part_loss, g + weight * part_g
        return loss, g

    def curvature(self, p: Tensor, h: float = STEP, at: Tensor | None = None) -> Tensor:
        return sum(weight * f.curvature(p, h, at) for weight, f in self._parts())

    def hessian(self, at: Tensor | None = None) -> LinearOperator:
        return self._mean_operator(lambda f: f.hessian(at))

    def ggn(self, at: Tensor | None = None) -> LinearOperator:
        return self._mean_operator(lambda f: f.ggn(at))

    def per_sample_grads(self, at: Tensor | None = None) -> Tensor:
        return torch.cat([f.per_sample_grads(at) for _, f in self._parts()])

    def output_jacobian(self, at: Tensor | None = None) -> Tensor:
        return torch.cat([f.output_jacobian(at) for _, f in self._parts()])

    def summary(self, u: Tensor, partition: Partition, at: Tensor | None = None) -> Summary:
        parts = [(weight, f.summary(u, partition, at)) for weight, f in self._parts()]
        return Summary(*(sum(weight * found[i] for weight, found in parts) for i in range(3)))

    def record(self):
        raise Unsupported("record() is for one batch; the full training set is many: record each batch")

    def sampled(self) -> Objective:
        """The whole set with labels drawn from the model's predictive distribution."""
        chunks = [tuple(f.sampled().batch) for _, f in self._parts()]
        return FullObjective(self._part, chunks)

    def _parts(self) -> Iterator[tuple[float, Objective]]:
        for chunk in self._chunks:
            yield len(chunk[0]) / self._samples, self._part.twin(chunk)

    def _mean_operator(self, linearise: Callable[[Objective], LinearOperator]) -> LinearOperator:
        def product(V: Tensor) -> Tensor:
            return sum(weight * (linearise(f) @ V) for weight, f in self._parts())

        p = self.space.parameters[0]
        return LinearOperator(product, self.space.size, matmat=product, dtype=p.dtype, device=p.device)
