"""The two halves of a backward pass: from the loss to the outputs of the recorded layers, and on to their parameters.

Kronecker-factored and subsampled methods use one half without the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge

from sobench.errors import Unsupported, UsageError
from sobench.objective.forward_pass import ForwardPass
from sobench.objective.graph import probe
from sobench.objective.layers.calls import MatrixLayer
from sobench.objective.layers.matrices import LayerMatrices, weight_gradient_
from sobench.objective.layers.records import LayerRecord, unrecorded
from sobench.objective.network import Network
from sobench.objective.precision import at_least_single
from sobench.objective.torch_private import multi_zero_

Records = Mapping[str, LayerRecord]
"""The recorded layers, by module name."""


def active(records: dict[str, LayerRecord] | None, oracle: str) -> dict[str, LayerRecord]:
    """`records`, those of the open `record()` block. Raises UsageError, naming the oracle, if there is none."""
    if records is None:
        raise UsageError(f"{oracle}() goes back to recorded layers: call it inside `with f.record() as layers:`")
    return records


def edges(records: Records) -> list[GradientEdge]:
    """The positions of the layers' outputs in the graph of the pass: one for each call."""
    return [call.edge for record in records.values() for call in record.calls if call.edge is not None]


def at_outputs(records: Records, tensors: Sequence[Tensor | None], lead: int) -> dict[str, Tensor]:
    """{layer: [..., N, ...]} from one tensor for each of `edges`, None where an output is not used.

    lead: the number of the dimensions [..., N]. A layer whose outputs are not used is left out, and so is one that is
    called several times and is neither Linear nor Conv2d.
    """
    parts, joined = iter(tensors), {}
    for name, record in records.items():
        of_calls = [None if call.edge is None else next(parts) for call in record.calls]
        if len(of_calls) <= 1 or isinstance(record.module, MatrixLayer):
            h = record.at_outputs(of_calls, lead)
            joined |= {} if h is None else {name: at_least_single(h)}
    return joined


_VERIFIED: WeakSet[nn.Module] = WeakSet()
"""Models whose records explained the gradient at the first pass, and models without layer matrices."""


def is_verified(model: nn.Module) -> bool:
    """Whether `verify` has nothing left to do for this model."""
    return model in _VERIFIED


def verify(network: Network, forward: ForwardPass, records: Records, inputs: Tensor) -> None:
    """Compare the gradient of each recorded layer with the one that its record gives, for a batch of these inputs.

    For one cotangent at the outputs, autograd gives the gradient of a weight, and the gradients h at the outputs of its
    layer; sum_nt h_nt a_nt^T must be the former. It is not if the weight is used elsewhere, or if a hook or a subclass
    changes what the layer puts out. With one more sample in the batch the inputs must have one more entry in their
    first dimension. Makes a backward pass, and a forward pass of that larger batch, which are not metered. Raises
    Unsupported, which names the layer.
    """
    try:
        matrices = network.matrices
    except Unsupported:  # whoever asks for the matrices is told so
        _VERIFIED.add(network.model)
        return
    weights = {name: weight for name, weight in matrices.weights.items() if weight.requires_grad}
    if not weights:
        _VERIFIED.add(network.model)
        return
    called = {name: records[name] for name in weights if name in records and records[name].calls}
    ends = edges(called)
    grads = _gradients(forward, [*ends, *weights.values()])
    if called and all(h is None for h in grads[: len(ends)]):
        return  # the latest pass of the layers is another than the one that is differentiated
    if not all(bool(g.isfinite().all()) for g in grads if g is not None):
        return  # the run diverges; nothing is shown by it
    _check_samples(network, called, inputs)
    _check_calls(called, grads)
    h = at_outputs(called, grads[: len(ends)], lead=1)
    for name, G in zip(weights, grads[len(ends) :]):
        if G is not None and not _explained(records[name], h.get(name), G):
            raise Unsupported(
                f"layer {name} ({records[name].module}): its inputs and outputs do not explain its gradient; allowed: "
                "a layer whose weight it alone uses, and whose output nothing changes"
            )
    _VERIFIED.add(network.model)


def _check_samples(network: Network, called: Records, inputs: Tensor) -> None:
    """Check that each call has the samples in the first dimension of its inputs.

    Raises Unsupported for a layer of which a call has another number there, for these inputs or for one sample more.
    """
    larger = _shapes_of_inputs(network, called, torch.cat([inputs, inputs[:1]]))
    for name, record in called.items():
        here = [call.inputs.shape for call in record.calls]
        for samples, shapes in ((len(inputs), here), (len(inputs) + 1, larger.get(name, []))):
            for shape in shapes:
                if shape[0] != samples:
                    raise Unsupported(
                        f"layer {name} has inputs {list(shape)} for a batch of {samples}; allowed: [{samples}, ...]"
                    )


@torch.no_grad()
def _shapes_of_inputs(network: Network, called: Records, inputs: Tensor) -> dict[str, list[torch.Size]]:
    """{layer: the shapes of the inputs of its calls} in a pass over these inputs; empty if the model refuses them."""
    shapes: dict[str, list[torch.Size]] = {name: [] for name in called}
    with unrecorded(), network.noise(0), ExitStack() as hooks:
        for name, record in called.items():
            hooks.enter_context(
                record.module.register_forward_pre_hook(
                    lambda _, args, keywords, name=name: shapes[name].append((*args, *keywords.values())[0].shape),
                    with_kwargs=True,
                )
            )
        try:
            network(inputs)
        except Exception:  # a model for batches of one size
            return {}
    return shapes


def _check_calls(called: Records, grads: Sequence[Tensor | None]) -> None:
    """Raises Unsupported for a layer of which some calls reach the outputs and others do not."""
    parts = iter(grads)
    for name, record in called.items():
        reached = [call.edge is not None and next(parts) is not None for call in record.calls]
        if any(reached) and not all(reached):
            raise Unsupported(
                f"layer {name} ({record.module}): the outputs of {reached.count(False)} of its {len(reached)} calls "
                "are not used; allowed: calls that the model's outputs depend on"
            )


def _gradients(forward: ForwardPass, ends: list[Any]) -> tuple[Tensor | None, ...]:
    """The gradient of one linear function of the outputs at edges and in parameters; None where it does not arrive."""
    z = forward.outputs
    with torch.enable_grad(), unrecorded():
        return torch.autograd.grad(z, ends, probe(z), retain_graph=True, allow_unused=True)


def _explained(record: LayerRecord, h: Tensor | None, G: Tensor) -> bool:
    """Whether G [I, ...], a gradient of the weight, is sum_nt h_nt a_nt^T, for h [N, ...] at the outputs.

    Up to the square root of the precision in which the layer was computed.
    """
    eps = max(torch.finfo(x.dtype).eps for x in (G, *(call.outputs for call in record.calls)))
    G = at_least_single(G)
    assembled = G.new_zeros(G.shape)
    if h is not None:
        weight_gradient_(record, h, assembled, None)
    return bool((assembled - G).norm() <= eps**0.5 * (1 + G.norm()))


def propagate(forward: ForwardPass, targets: Tensor, records: Records) -> Tensor:
    """The mean loss, a scalar, without the penalty. Fills the `output_grads` of the records."""
    return forward.propagate(targets, edges(records))[0]


def propagate_with_rest(
    forward: ForwardPass, targets: Tensor, records: Records, matrices: LayerMatrices, rest: Tensor
) -> Tensor:
    """`propagate`, with the gradient in the parameters that belong to no layer (BatchNorm) written into `rest` [P]."""
    parameters = [forward.parameters[i] for i in matrices.rest]
    loss, grads = forward.propagate(targets, edges(records), parameters)
    for part, g in zip(matrices.others(rest), grads):
        part.zero_() if g is None else part.copy_(g)
    return loss


def propagate_roots(forward: ForwardPass, targets: Tensor, records: Records) -> dict[str, Tensor]:
    """{layer: [C, N, ...]}: the columns of a root of the loss's Hessian, pulled back to the outputs of the layers."""
    return at_outputs(records, forward.propagate_roots(targets, edges(records)), lead=2)


def accumulate(matrices: LayerMatrices, layers: Records, grads: Mapping[str, Tensor], out: Tensor) -> None:
    """Write sum_nt h_nt a_nt^T for every layer into its part of `out` [P], for gradients h [N, ...] at its outputs.

    The part of a layer without a gradient in `grads` becomes zero. Other entries of `out` are left alone.
    """
    for name, (weight, bias) in matrices.parts(out).items():
        if name in grads:
            weight_gradient_(layers[name], grads[name], weight, bias)
        else:
            multi_zero_([weight] if bias is None else [weight, bias])
