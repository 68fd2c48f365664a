"""The inputs, outputs and output gradients of layers during a pass, recorded for Kronecker-factored methods."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import get_gradient_edge
from torch.nn.utils.parametrize import ParametrizationList
from torch.utils.hooks import RemovableHandle

from sobench.errors import Unsupported, UsageError, one_line
from sobench.objective.layers.calls import LayerCall, MatrixLayer, input_rows, output_rows
from sobench.objective.precision import at_least_single
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

    A Linear or Conv2d layer that the pass calls several times has the record of a single call on the locations of all
    its calls: inputs [N, |T|, columns of the weight], outputs and their gradients [N, |T|, I]. Their sum over locations
    is the sum over calls, as in the gradient. The tensors of another layer with several calls raise Unsupported.
    """

    name: str
    module: nn.Module
    calls: list[LayerCall] = field(default_factory=list)

    @property
    def inputs(self) -> Tensor | None:
        """The inputs [N, ...]; None before a pass."""
        if len(self.calls) == 1:
            return self.calls[0].inputs
        if not self.calls:
            return None
        module = self._matrix()
        return self._join([input_rows(module, call.inputs) for call in self.calls])

    @property
    def outputs(self) -> Tensor | None:
        """The outputs [N, ...]. Raises Unsupported if a later in-place layer has overwritten them."""
        if any(version(call.outputs) != call.version for call in self.calls):
            raise Unsupported(
                f"the outputs of {self.name} ({self.module}) were overwritten by an in-place layer: use inplace=False"
            )
        return self.at_outputs([call.outputs for call in self.calls])

    @property
    def output_grads(self) -> Tensor | None:
        """The gradients [N, ...] at the outputs; None before a backward pass."""
        if len(self.calls) == 1:
            return self.calls[0].output_grads
        return self.at_outputs([call.output_grads for call in self.calls])

    @property
    def output_shape(self) -> torch.Size:
        """The shape [N, ...] of the outputs, also if they were overwritten. Raises UsageError before a pass."""
        if not self.calls:
            raise _unrecorded(self, "outputs")
        if len(self.calls) == 1:
            return self.calls[0].outputs.shape
        rows = [output_rows(self._matrix(), call.outputs) for call in self.calls]
        return torch.Size((len(rows[0]), sum(h.shape[1] for h in rows), rows[0].shape[2]))

    @property
    def samples(self) -> int:
        """N. Raises UsageError before a pass."""
        if not self.calls:
            raise _unrecorded(self, "inputs")
        return len(self.calls[0].inputs)

    @property
    def convolution(self) -> nn.Conv2d | None:
        """The layer, if inputs and outputs are images: those of a single call of a Conv2d layer."""
        return self.module if isinstance(self.module, nn.Conv2d) and len(self.calls) == 1 else None

    @property
    def is_differentiated(self) -> bool:
        """Whether there is a gradient at the outputs: the pass called the layer, and the loss used its outputs."""
        return any(call.output_grads is not None for call in self.calls)

    def at_outputs(self, parts: Sequence[Tensor | None], lead: int = 1) -> Tensor | None:
        """One tensor of those [..., *outputs of a sample] at the outputs of each call; `lead`: the dimensions [...].

        A part that is None counts as zero. The result is None if all parts are.
        """
        if len(parts) == 1:
            return parts[0]
        known = [part.shape[:lead] for part in parts if part is not None]
        if not known:
            return None
        module = self._matrix()
        zeros = (call.outputs.new_zeros(1).expand(*known[0], *call.outputs.shape[1:]) for call in self.calls)
        return self._join(
            [output_rows(module, zero if part is None else part, lead) for part, zero in zip(parts, zeros)], lead
        )

    def _matrix(self) -> MatrixLayer:
        """The module, whose calls have locations. Raises Unsupported for another one."""
        if not isinstance(self.module, MatrixLayer):
            raise Unsupported(
                f"layer {self.name} ({self.module}) is called {len(self.calls)} times in a pass; allowed: one call"
            )
        return self.module

    def _join(self, rows: list[Tensor], dim: int = 1) -> Tensor:
        """Rows of the calls, with their locations at `dim`, as one tensor. Raises Unsupported unless N is the same."""
        sizes = [call.shape[dim - 1] for call in rows]
        if len(set(sizes)) > 1:
            raise Unsupported(
                f"layer {self.name} ({self.module}) is called with {sizes} samples in a pass; allowed: the same in each"
            )
        return torch.cat(rows, dim)


def recorded_inputs(record: LayerRecord) -> Tensor:
    """The inputs [N, ...] of a recorded layer, at least in float32. Raises UsageError before a forward pass."""
    inputs = record.inputs
    if inputs is None:
        raise _unrecorded(record, "inputs")
    return at_least_single(inputs)


def recorded_outputs(record: LayerRecord) -> Tensor:
    """The outputs [N, ...] of a recorded layer, at least in float32.

    Raises UsageError before a pass, Unsupported if the outputs are overwritten.
    """
    outputs = record.outputs
    if outputs is None:
        raise _unrecorded(record, "outputs")
    return at_least_single(outputs)


def recorded_output_grads(record: LayerRecord) -> Tensor:
    """The gradients [N, ...] at the outputs, at least in float32. Raises UsageError before a backward pass."""
    output_grads = record.output_grads
    if output_grads is None:
        raise _unrecorded(record, "output gradients")
    return at_least_single(output_grads)


def used(records: Mapping[str, LayerRecord], names: Iterable[str]) -> list[str]:
    """The layers of `names` with gradients at their outputs: the loss of the recorded batch depends on them."""
    return [name for name in names if records[name].is_differentiated]


def check_used(counts: Mapping[str, int]) -> None:
    """Check that each layer is used by a batch, given the number of batches. Raises UsageError with its name."""
    for name, count in counts.items():
        if not count:
            raise UsageError(
                f"layer {name} is used by no batch before the first step, so it has no statistics; allowed: layers "
                f"that the loss depends on, and {name}.requires_grad_(False)"
            )


def _unrecorded(record: LayerRecord, part: str) -> UsageError:
    return UsageError(
        f"layer {described(record.name, record.module)} has no {part}: it was in no pass inside `with f.record()`"
    )


def described(name: str, module: nn.Module) -> str:
    """A module for a message: its name, and its options if it has no modules inside."""
    kind = type(module).__name__ if next(module.children(), None) is not None else one_line(module)
    return f"{name} ({kind})" if name else kind


def with_parameters(model: nn.Module) -> dict[str, nn.Module]:
    """The modules with trainable parameters of their own, by name, without parametrizations of another module."""
    return {
        name: module
        for name, module in model.named_modules()
        if any(p.requires_grad for p in module.parameters(recurse=False))
        and not isinstance(module, ParametrizationList)
    }


@contextmanager
def recording(model: nn.Module, modules: Mapping[str, nn.Module]) -> Generator[dict[str, LayerRecord]]:
    """A context that yields a record for each of these modules of a model, by name. Its hooks are removed at the end.

    Each pass of the model begins new records. A pass raises Unsupported for a module whose input or output is not one
    tensor.
    """
    records = {name: LayerRecord(name, module) for name, module in modules.items()}
    handles: list[RemovableHandle] = []

    def begin(module: nn.Module, args: Any) -> None:
        if not (_paused or in_backward()):
            for record in records.values():
                record.calls = []

    def forward_hook(record: LayerRecord, args: tuple[Any, ...], outputs: Any) -> None:
        if _paused or in_backward():
            return
        if not (args and isinstance(args[0], Tensor)):
            raise Unsupported(f"no record of {described(record.name, record.module)}: its input is not one tensor")
        if not isinstance(outputs, Tensor):
            raise Unsupported(f"no record of {described(record.name, record.module)}: its output is not one tensor")
        call = LayerCall(args[0].detach(), outputs.detach(), version(outputs))
        record.calls.append(call)

        def backward_hook(grad: Tensor) -> None:
            if not _paused:
                call.output_grads = grad.detach()

        if outputs.requires_grad:
            call.edge = get_gradient_edge(outputs)
            handles.append(outputs.register_hook(backward_hook))

    def observe(record: LayerRecord) -> RemovableHandle:
        return record.module.register_forward_hook(
            lambda _, args, keywords, outputs: forward_hook(record, (*args, *keywords.values()), outputs),
            with_kwargs=True,
        )

    handles += [model.register_forward_pre_hook(begin), *map(observe, records.values())]
    try:
        yield records
    finally:
        for handle in handles:
            handle.remove()
        for record in records.values():
            for call in record.calls:
                call.edge = None


@contextmanager
def unrecorded() -> Generator[None]:
    """A context that pauses every `record()`, for passes that are not the forward and backward pass of the gradient."""
    global _paused
    previous, _paused = _paused, True
    try:
        yield
    finally:
        _paused = previous
