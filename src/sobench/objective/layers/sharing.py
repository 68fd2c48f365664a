"""Two ways to treat a layer that shares its weight over several locations: `expand` and `reduce`.

R. Eschenhagen, A. Immer, R. Turner, F. Schneider and P. Hennig, Kronecker-Factored Approximate Curvature for Modern
Neural Network Architectures (2023), sections 3.2 and 3.3. For a layer h_t = W a_t at the locations t in T:

    expand   each location is a sample of its own, with a_t, h_t and Dh_t
    reduce   a sample has one location, with mean_t a_t, mean_t h_t and sum_t Dh_t

The gradient sum_t Dh_t a_t' is the same in both for one location. `expand` fits a loss that is a sum over locations
(every character of a text), `reduce` a loss of the mean or the sum of the last layer's locations (the patches of an
image): for a deep linear network of that kind the Kronecker product of K-FAC is then the exact Gauss-Newton block.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from sobench.objective.layers.matrices import output_grads, outputs, patches
from sobench.objective.layers.records import LayerRecord


class ReducedRecord(LayerRecord):
    """The record of a layer whose locations are reduced to one: inputs [N, columns of the weight], outputs [N, I]."""

    def __init__(self, record: LayerRecord):
        super().__init__(record.name, record.module, record.calls)
        self._record = record

    @property
    def inputs(self) -> Tensor | None:
        """mean_t a_t without the 1 of a bias, [N, columns of the weight]; None before a pass."""
        return patches(self._record).mean(1) if self.calls else None

    @property
    def outputs(self) -> Tensor | None:
        """mean_t h_t, [N, I]; None before a pass."""
        return outputs(self._record).mean(1) if self.calls else None

    @property
    def output_grads(self) -> Tensor | None:
        """sum_t of the gradients of the mean loss at the outputs, [N, I]; None before a backward pass."""
        return output_grads(self._record).sum(1) if self.is_differentiated else None

    @property
    def output_shape(self) -> torch.Size:
        """[N, I]."""
        return torch.Size((self.samples, len(self.module.weight)))  # type: ignore[arg-type]

    @property
    def convolution(self) -> nn.Conv2d | None:
        """None: inputs and outputs are no images."""
        return None


SHARING: dict[str, Callable[[LayerRecord], LayerRecord]] = {"expand": lambda record: record, "reduce": ReducedRecord}
"""The values of the setting `sharing`: the record that a method looks at in place of a layer's own."""
