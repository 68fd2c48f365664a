"""The two halves of a backward pass: from the loss to the outputs of the recorded layers, and on to their parameters.

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
"""The recorded layers, by module name."""


def active(records: dict[str, LayerRecord] | None, oracle: str) -> dict[str, LayerRecord]:
    """`records`, those of the open `record()` block. Raises UsageError, naming the oracle, if there is none."""
    if records is None:
        raise UsageError(f"{oracle}() goes back to recorded layers: call it inside `with f.record() as layers:`")
    return records


def edges(records: Records) -> dict[str, GradientEdge]:
    """The positions of the layers' outputs in the graph of the pass, for the layers that the pass went through."""
    return {name: record.edge for name, record in records.items() if record.edge is not None}


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
