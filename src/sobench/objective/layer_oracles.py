"""What an objective answers about its layers: the half of its passes that Kronecker-factored and subsampled methods use."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge

from sobench.errors import UsageError
from sobench.objective.cost import Cost
from sobench.objective.forward_pass import Pass
from sobench.objective.layers.matrices import LayerMatrices, weight_gradient_
from sobench.objective.layers.records import LayerRecord, recording
from sobench.objective.network import Network
from sobench.objective.parameter_space import ParameterSpace


class LayerOracles:
    """A part of `sobench.objective.Objective`, which has the pass, the batch and the meter."""

    network: Network
    space: ParameterSpace
    cost: Cost
    _records: dict[str, LayerRecord] | None

    @property
    def matrices(self) -> LayerMatrices:
        """theta as one matrix a Linear or Conv2d layer, weight and bias joined. Raises Unsupported where that cannot be."""
        return self.network.matrices

    @contextmanager
    def record(self) -> Iterator[dict[str, LayerRecord]]:
        """Per layer inputs, outputs and output gradients of the passes made inside the block, by module name."""
        self.cost.used.add("record")
        self._forget()
        with recording(self.network.layers) as records:
            self._records = records
            try:
                yield records
            finally:
                self._records = None

    def recorded(self, when: bool = True):
        """`record()` at the steps that need it; elsewhere a context that records nothing and yields None."""
        return self.record() if when else nullcontext()

    def propagate(self, rest: Tensor | None = None) -> Tensor:
        """Inside `record()`: a backward pass to the layers' outputs alone, at half its cost; f(theta) is returned.

        Fills every `output_grads`, and forms no gradient of a layer's parameters; those of the others (BatchNorm's), without
        the penalty, are written into `rest` [P] where it is given. Shares the forward pass of `value_and_grad()`, and of the
        objective that this one was `sampled()` from. Raises UsageError outside `record()`.
        """
        self.cost.used.add("propagate")
        forward, edges = self._pass_to_layers("propagate")
        others = () if rest is None else self.matrices.rest
        loss, grads = forward.propagate(self.batch.targets, list(edges.values()), [forward.parameters[i] for i in others])
        if others:
            for part, g in zip(self.matrices.others(rest), grads):
                part.zero_() if g is None else part.copy_(g)
        return loss + self._penalty(forward.parameters) if self.l2 else loss

    def propagate_roots(self) -> dict[str, Tensor]:
        """Inside `record()`: the rows of a square root of the Gauss-Newton matrix, as far back as the layers' outputs h.

        {layer: [C, N, ...]}: d (R_n^T z_n)_c / dh, with R_n R_n^T the loss's Hessian in the outputs of sample n. One backward
        pass of C cotangents, sharing the forward pass as `propagate()` does. Raises UsageError outside `record()`.
        """
        self.cost.used.add("propagate_roots")
        forward, edges = self._pass_to_layers("propagate_roots")
        roots = forward.propagate_roots(self.batch.targets, list(edges.values()))
        return {name: root for name, root in zip(edges, roots) if root is not None}

    def accumulate(self, layers: Mapping[str, LayerRecord], grads: Mapping[str, Tensor], out: Tensor) -> Tensor:
        """The other half of a backward pass: sum_nt h_nt a_nt^T of every layer, for gradients h [N, ...] at its outputs.

        Written into the layers' parts of `out` [P], zero for a layer that is not in `grads`; what no layer owns stays as it
        is. Returns `out`.
        """
        self.cost.used.add("accumulate")
        for name, (weight, bias) in self.matrices.parts(out).items():
            if name in grads:
                weight_gradient_(layers[name], grads[name], weight, bias)
            else:
                torch._foreach_zero_([weight] if bias is None else [weight, bias])
        self.cost.accumulation(len(self))
        return out

    # Inside

    def _pass_to_layers(self, oracle: str) -> tuple[Pass, dict[str, GradientEdge]]:
        """The forward pass, and where the outputs of the layers that it went through lie in its graph."""
        if self._records is None:
            raise UsageError(f"{oracle}() goes back to recorded layers: call it inside `with f.record() as layers:`")
        forward = self._pass(None)
        return forward, {name: r.edge for name, r in self._records.items() if r.edge is not None}
