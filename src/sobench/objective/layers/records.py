"""The inputs, outputs and output gradients of layers during a pass, recorded for Kronecker-factored methods."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.utils.hooks import RemovableHandle

from sobench.errors import Unsupported, UsageError
from sobench.objective.torch_private import in_backward, version

_paused = False
"""Whether hooks ignore the passes at the moment."""


@dataclass
class LayerRecord:
    """One layer with parameters of its own, in the latest pass inside `record()`.

    inputs: [N, ...], from the forward pass, without a graph. None before a pass.
    outputs: [N, ...], likewise.
    output_grads: [N, ...], the gradient of the *mean* loss in the outputs (with its 1/N), from the latest backward
    pass.
        None before one.
    edge: the position of the outputs in the graph. None after the block, and for outputs that need no gradient.
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
        """The outputs [N, ...]. Raises Unsupported if a later in-place layer has overwritten them."""
        if self._outputs is not None and version(self._outputs) != self._version:
            raise Unsupported(
                f"the outputs of {self.name} ({self.module}) were overwritten by an in-place layer: use inplace=False"
            )
        return self._outputs

    @property
    def output_shape(self) -> torch.Size:
        """The shape [N, ...] of the outputs, also if they were overwritten. Raises UsageError before a pass."""
        if self._outputs is None:
            raise _unrecorded(self, "outputs")
        return self._outputs.shape

    def set_forward(self, inputs: Tensor, outputs: Tensor) -> None:
        """Store the tensors of a forward pass, and drop the gradient of an earlier pass."""
        self.inputs, self._outputs, self._version, self.output_grads = inputs, outputs, version(outputs), None


def recorded_inputs(record: LayerRecord) -> Tensor:
    """The inputs [N, ...] of a recorded layer. Raises UsageError before a forward pass."""
    if record.inputs is None:
        raise _unrecorded(record, "inputs")
    return record.inputs


def recorded_outputs(record: LayerRecord) -> Tensor:
    """The outputs [N, ...] of a recorded layer. Raises UsageError before a pass, Unsupported if overwritten."""
    outputs = record.outputs
    if outputs is None:
        raise _unrecorded(record, "outputs")
    return outputs


def recorded_output_grads(record: LayerRecord) -> Tensor:
    """The gradients [N, ...] at the outputs of a recorded layer. Raises UsageError before a backward pass."""
    if record.output_grads is None:
        raise _unrecorded(record, "output gradients")
    return record.output_grads


def _unrecorded(record: LayerRecord, part: str) -> UsageError:
    return UsageError(
        f"layer {record.name} ({record.module}) has no {part}: it was in no pass inside `with f.record()`"
    )


def with_parameters(model: nn.Module) -> dict[str, nn.Module]:
    """The modules with trainable parameters of their own, by name."""
    return {
        name: module
        for name, module in model.named_modules()
        if any(p.requires_grad for p in module.parameters(recurse=False))
    }


@contextmanager
def recording(modules: Mapping[str, nn.Module]) -> Generator[dict[str, LayerRecord]]:
    """A context that yields a record for each of these modules, by name. Its hooks are removed at the end.

    A pass raises Unsupported for a module whose output is not one tensor.
    """
    records: dict[str, LayerRecord] = {}
    handles: list[RemovableHandle] = []

    def forward_hook(record: LayerRecord, args: tuple[Any, ...], outputs: Any) -> None:
        if _paused or in_backward():
            return
        if not (args and isinstance(args[0], Tensor)):
            raise Unsupported(f"no record of {record.name} ({record.module}): its input is not one tensor")
        if not isinstance(outputs, Tensor):
            raise Unsupported(f"no record of {record.name} ({record.module}): its output is not one tensor")
        detached = outputs.detach()
        record.set_forward(args[0].detach(), detached)

        def backward_hook(grad: Tensor) -> None:
            if not _paused and record._outputs is detached:
                record.output_grads = grad.detach()

        record.edge = None
        if outputs.requires_grad:
            record.edge = get_gradient_edge(outputs)
            handles.append(outputs.register_hook(backward_hook))

    for name, module in modules.items():
        record = records[name] = LayerRecord(name, module)
        handles.append(
            module.register_forward_hook(
                lambda _, args, keywords, outputs, record=record: forward_hook(
                    record, (*args, *keywords.values()), outputs
                ),
                with_kwargs=True,
            )
        )
    try:
        yield records
    finally:
        for handle in handles:
            handle.remove()
        for record in records.values():
            record.edge = None


@contextmanager
def unrecorded() -> Generator[None]:
    """A context that pauses every `record()`, for passes that are not the forward and backward pass of the gradient."""
    global _paused
    previous, _paused = _paused, True
    try:
        yield
    finally:
        _paused = previous
