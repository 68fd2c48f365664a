"""What a layer saw in a forward and a backward pass: the raw material of Kronecker-factored methods."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

from sobench.errors import Unsupported
from sobench.objective.torch_private import version

_paused = False


@dataclass
class LayerRecord:
    """One layer with parameters of its own, in the latest pass inside `record()`.

    inputs [N, ...] and outputs [N, ...] come from the forward pass, detached; output_grads [N, ...] is the gradient of
    the *mean* loss with respect to the outputs (so it carries the 1/N), from the latest backward pass. edge is where the
    outputs lie in the graph, while the block lasts. Reading `outputs` raises Unsupported where an in-place layer after
    this one has overwritten them.
    """

    name: str
    module: nn.Module
    inputs: Tensor | None = None
    output_grads: Tensor | None = None
    edge: GradientEdge | None = None
    _outputs: Tensor | None = None
    _version: int = 0

    @property
    def outputs(self) -> Tensor | None:
        if self._outputs is not None and version(self._outputs) != self._version:
            raise Unsupported(
                f"the outputs of {self.name} ({self.module}) were overwritten by an in-place layer: use inplace=False"
            )
        return self._outputs

    @property
    def output_shape(self) -> torch.Size:
        """[N, ...], whatever became of the outputs."""
        return self._outputs.shape

    def saw(self, inputs: Tensor, outputs: Tensor) -> None:
        """Keep what a forward pass showed; the gradient of an earlier pass no longer belongs to it."""
        self.inputs, self._outputs, self._version, self.output_grads = inputs, outputs, version(outputs), None


def with_parameters(model: nn.Module) -> dict[str, nn.Module]:
    """The modules that own trainable parameters, by name."""
    return {
        name: module
        for name, module in model.named_modules()
        if any(p.requires_grad for p in module.parameters(recurse=False))
    }


@contextmanager
def recording(modules: Mapping[str, nn.Module]) -> Iterator[dict[str, LayerRecord]]:
    """Record these modules, by name; the hooks are gone when the block ends."""
    records, handles = {}, []

    def forward_hook(record: LayerRecord, args: tuple, outputs: Tensor) -> None:
        if _paused:
            return
        if not isinstance(outputs, Tensor):
            raise Unsupported(f"no record of {record.name} ({record.module}): its output is not one tensor")
        seen = outputs.detach()
        record.saw(args[0].detach(), seen)

        def backward_hook(grad: Tensor) -> None:
            if not _paused and record._outputs is seen:
                record.output_grads = grad.detach()

        record.edge = None
        if outputs.requires_grad:
            record.edge = get_gradient_edge(outputs)
            handles.append(outputs.register_hook(backward_hook))

    for name, module in modules.items():
        record = records[name] = LayerRecord(name, module)
        handles.append(module.register_forward_hook(lambda _, *seen, record=record: forward_hook(record, *seen)))
    try:
        yield records
    finally:
        for handle in handles:
            handle.remove()
        for record in records.values():
            record.edge = None


@contextmanager
def unrecorded() -> Iterator[None]:
    """Inside `record()`: for products and passes sample by sample, whose backward passes are not the gradient's."""
    global _paused
    before, _paused = _paused, True
    try:
        yield
    finally:
        _paused = before
