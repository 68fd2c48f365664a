"""The two halves of a backward pass: from the loss to the outputs of the recorded layers, and on to their parameters.

Kronecker-factored and subsampled methods use one half without the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge

from sobench.errors import Unsupported, UsageError
from sobench.objective.forward_pass import ForwardPass
from sobench.objective.layers.matrices import LayerMatrices, weight_gradient_
from sobench.objective.layers.records import LayerRecord, recorded_inputs, unrecorded
from sobench.objective.network import Network
from sobench.objective.torch_private import multi_zero_

Records = Mapping[str, LayerRecord]
"""The recorded layers, by module name."""


def active(records: dict[str, LayerRecord] | None, oracle: str) -> dict[str, LayerRecord]:
    """`records`, those of the open `record()` block. Raises UsageError, naming the oracle, if there is none."""
    if records is None:
        raise UsageError(f"{oracle}() goes back to recorded layers: call it inside `with f.record() as layers:`")
    return records


def edges(records: Records) -> dict[str, GradientEdge]:
    """The positions of the layers' outputs in the graph of the pass, for the layers that the pass went through."""
    return {name: record.edge for name, record in records.items() if record.edge is not None}


_VERIFIED: WeakSet[nn.Module] = WeakSet()
"""Models whose records explained the gradient at the first pass, and models without layer matrices."""


def is_verified(model: nn.Module) -> bool:
    """Whether `verify` has nothing left to do for this model."""
    return model in _VERIFIED


def verify(network: Network, forward: ForwardPass, records: Records, samples: int) -> None:
    """Compare the gradient of each recorded layer with the one that its record gives.

    For one cotangent at the outputs, autograd gives the gradient of a weight, and the gradients h at the outputs of its
    layer; sum_nt h_nt a_nt^T must be the former. It is not if the layer is called several times, if its weight is used
    elsewhere, or if a hook or a subclass changes what it puts out. Makes one backward pass, which is not metered.
    Raises Unsupported, which names the layer.
    """
    try:
        matrices = network.matrices
    except Unsupported:  # whoever asks for the matrices is told so
        _VERIFIED.add(network.model)
        return
    weights = {name: weight for name, weight in matrices.weights.items() if weight.requires_grad}
    called = [name for name in weights if name in records and records[name].edge is not None]
    passed = [records[name] for name in weights if name in records and records[name].inputs is not None]
    if any(record.output_grads is None for record in passed):
        return  # the latest pass of a layer is another than the one that is differentiated
    grads = _gradients(forward, [*(records[name].edge for name in called), *weights.values()])
    if not all(bool(g.isfinite().all()) for g in grads if g is not None):
        return  # the run diverges; nothing is shown by it
    at_outputs = dict(zip(called, grads))
    for name, G in zip(weights, grads[len(called) :]):
        if name in called and len(recorded_inputs(records[name])) != samples:
            shape = list(recorded_inputs(records[name]).shape)
            raise Unsupported(f"layer {name} has inputs {shape} for a batch of {samples}; allowed: [{samples}, ...]")
        if G is not None and not _explained(records[name], at_outputs.get(name), G):
            raise Unsupported(
                f"layer {name} ({records[name].module}): its input and output do not explain its gradient; allowed: a "
                "layer that is called once in a pass, whose weight it alone uses, and whose output nothing changes"
            )
    _VERIFIED.add(network.model)


def _gradients(forward: ForwardPass, ends: list[Any]) -> tuple[Tensor | None, ...]:
    """The gradient of one linear function of the outputs at edges and in parameters; None where it does not arrive."""
    z = forward.outputs
    cotangent = torch.arange(1, z.numel() + 1, device=z.device).cos().view_as(z).to(z.dtype)
    with torch.enable_grad(), unrecorded():
        return torch.autograd.grad(z, ends, cotangent, retain_graph=True, allow_unused=True)


def _explained(record: LayerRecord, h: Tensor | None, G: Tensor) -> bool:
    """Whether G [I, ...], a gradient of the weight, is sum_nt h_nt a_nt^T, for h [N, ...] at the outputs."""
    assembled = torch.zeros_like(G)
    if h is not None:
        weight_gradient_(record, h, assembled, None)
    return bool((assembled - G).norm() <= torch.finfo(G.dtype).eps ** 0.5 * (1 + G.norm()))


def propagate(forward: ForwardPass, targets: Tensor, records: Records) -> Tensor:
    """The mean loss, a scalar, without the penalty. Fills the `output_grads` of the records."""
    return forward.propagate(targets, list(edges(records).values()))[0]


def propagate_with_rest(
    forward: ForwardPass, targets: Tensor, records: Records, matrices: LayerMatrices, rest: Tensor
) -> Tensor:
    """`propagate`, with the gradient in the parameters that belong to no layer (BatchNorm) written into `rest` [P]."""
    parameters = [forward.parameters[i] for i in matrices.rest]
    loss, grads = forward.propagate(targets, list(edges(records).values()), parameters)
    for part, g in zip(matrices.others(rest), grads):
        part.zero_() if g is None else part.copy_(g)
    return loss


def propagate_roots(forward: ForwardPass, targets: Tensor, records: Records) -> dict[str, Tensor]:
    """{layer: [C, N, ...]}: the columns of a root of the loss's Hessian, pulled back to the outputs of the layers."""
    layer_edges = edges(records)
    roots = forward.propagate_roots(targets, list(layer_edges.values()))
    return {name: root for name, root in zip(layer_edges, roots) if root is not None}


def accumulate(matrices: LayerMatrices, layers: Records, grads: Mapping[str, Tensor], out: Tensor) -> None:
    """Write sum_nt h_nt a_nt^T for every layer into its part of `out` [P], for gradients h [N, ...] at its outputs.

    The part of a layer without a gradient in `grads` becomes zero. Other entries of `out` are left alone.
    """
    for name, (weight, bias) in matrices.parts(out).items():
        if name in grads:
            weight_gradient_(layers[name], grads[name], weight, bias)
        else:
            multi_zero_([weight] if bias is None else [weight, bias])
