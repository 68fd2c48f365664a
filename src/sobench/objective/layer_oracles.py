"""The two halves of a backward pass: to the outputs of the recorded layers, and from there to their parameters.

Kronecker-factored and subsampled methods use one half without the other.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor
from torch.autograd.graph import GradientEdge

from sobench.errors import UsageError
from sobench.objective.forward_pass import ForwardPass
from sobench.objective.layers.matrices import LayerMatrices, weight_gradient_
from sobench.objective.layers.records import LayerRecord
from sobench.objective.torch_private import multi_zero_

Records = Mapping[str, LayerRecord]


def active(records: dict[str, LayerRecord] | None, oracle: str) -> dict[str, LayerRecord]:
    """The records of the block that is open. Raises UsageError where none is."""
    if records is None:
        raise UsageError(f"{oracle}() goes back to recorded layers: call it inside `with f.record() as layers:`")
    return records


def edges(records: Records) -> dict[str, GradientEdge]:
    """Where the outputs of the layers that the pass went through lie in its graph."""
    return {name: record.edge for name, record in records.items() if record.edge is not None}


def propagate(forward: ForwardPass, targets: Tensor, records: Records) -> Tensor:
    """The mean loss, a scalar; its gradient goes back to the outputs of the recorded layers."""
    return forward.propagate(targets, list(edges(records).values()))[0]


def propagate_with_rest(
    forward: ForwardPass, targets: Tensor, records: Records, matrices: LayerMatrices, rest: Tensor
) -> Tensor:
    """The same, and the gradient of the parameters that no layer owns (BatchNorm's), written into `rest` [P]."""
    parameters = [forward.parameters[i] for i in matrices.rest]
    loss, grads = forward.propagate(targets, list(edges(records).values()), parameters)
    for part, g in zip(matrices.others(rest), grads):
        part.zero_() if g is None else part.copy_(g)
    return loss


def propagate_roots(forward: ForwardPass, targets: Tensor, records: Records) -> dict[str, Tensor]:
    """{layer: [C, N, ...]}, the columns of a root of the loss's Hessian, pulled back to the recorded layers' outputs."""
    places = edges(records)
    roots = forward.propagate_roots(targets, list(places.values()))
    return {name: root for name, root in zip(places, roots) if root is not None}


def accumulate(matrices: LayerMatrices, layers: Records, grads: Mapping[str, Tensor], out: Tensor) -> None:
    """Write sum_nt h_nt a_nt^T of every layer into its part of `out` [P], for gradients h [N, ...] at its outputs."""
    for name, (weight, bias) in matrices.parts(out).items():
        if name in grads:
            weight_gradient_(layers[name], grads[name], weight, bias)
        else:
            multi_zero_([weight] if bias is None else [weight, bias])
