"""Derivatives of single samples: gradients [N, P] and the Jacobian of the outputs [N, C, P].

If samples do not interact in the network, one vectorised map over samples costs about one gradient. If they do
(BatchNorm in training mode), or torch cannot map one of its operations, the derivative for sample n is that of its own
term with all the other samples present: a backward pass of the whole batch for each sample.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.func import grad, jacrev, vmap

from sobench.errors import Unsupported
from sobench.objective.forward_pass import ForwardPass, LossFunction
from sobench.objective.graph import probe
from sobench.objective.layers.records import unrecorded
from sobench.objective.network import Network


@unrecorded()
def separable(network: Network, inputs: Tensor, parameters: tuple[Tensor, ...]) -> bool:
    """Whether the output of each sample depends only on that sample, and torch maps its gradient over samples.

    The first call with several samples compares their outputs with those of each sample alone, and one gradient of them
    with the sum of those of each sample alone, by passes that are not metered. Raises Unsupported for a model that does
    not return one row for each sample.
    """
    if network.separable and network.interacts is None and len(inputs) > 1:
        network.interacts = not _is_separable(network, inputs, parameters)
    return network.separable


def _is_separable(network: Network, inputs: Tensor, parameters: tuple[Tensor, ...]) -> bool:
    """The comparisons of `separable`."""
    leaves = tuple(p.detach().requires_grad_() for p in parameters)
    with torch.enable_grad():
        together = network(inputs, leaves)
    if len(together) != len(inputs):
        shape = list(together.shape)
        raise Unsupported(f"the model returns {shape} for {len(inputs)} samples; allowed: a row for each sample")
    if not together.requires_grad:
        return False  # the pass for the gradients says so
    w = probe(together)
    try:
        alone = vmap(lambda x: _output(network, parameters, x))(inputs)
        slope = grad(lambda theta, x, w: (_output(network, theta, x) * w).sum())
        grads_alone = vmap(slope, in_dims=(None, 0, 0))(parameters, inputs, w)
    except (ValueError, RuntimeError):  # the model takes no sample alone, or torch does not map an operation
        return False
    grads = torch.autograd.grad(together, leaves, w, materialize_grads=True)
    flat = network.space.flatten
    pairs = (together.detach(), alone), (flat(grads), network.space.flatten_batch(grads_alone).sum(0))
    tolerance = network.eps**0.5
    return all(bool((a - b).abs().max() <= tolerance * a.abs().max()) for a, b in pairs)


@unrecorded()
def separable_grads(
    network: Network, loss: LossFunction, inputs: Tensor, targets: Tensor, parameters: tuple[Tensor, ...]
) -> Tensor:
    """dl_n / dtheta, [N, P], without the penalty, for samples that do not interact."""

    def one(theta: tuple[Tensor, ...], x: Tensor, y: Tensor) -> Tensor:
        return loss(_output(network, theta, x)[None], y[None])

    return network.space.flatten_batch(vmap(grad(one), in_dims=(None, 0, 0))(parameters, inputs, targets))


@unrecorded()
def separable_jacobian(network: Network, inputs: Tensor, parameters: tuple[Tensor, ...]) -> Tensor:
    """dz_n / dtheta, [N, C, P], for samples that do not interact."""
    J = vmap(jacrev(lambda theta, x: _output(network, theta, x)), in_dims=(None, 0))(parameters, inputs)
    _check_outputs(list(J[0].shape[: J[0].dim() - parameters[0].dim()]))
    return torch.cat([part.reshape(*part.shape[:2], -1) for part in J], dim=2)


def _output(network: Network, parameters: tuple[Tensor, ...], x: Tensor) -> Tensor:
    """The output [C] of one sample."""
    return network.call(x[None], network.state(parameters))[0]


def coupled_grads(forward: ForwardPass, targets: Tensor) -> Tensor:
    """dl_n / dtheta with the other samples present, [N, P], without the penalty: J^T (e_n x dl_n/dz_n) for every n."""
    z = forward.outputs.detach().requires_grad_()
    with torch.enable_grad():
        (D,) = torch.autograd.grad(forward.loss_function(z, targets) * len(z), z)
    return forward.pull_back(torch.diag_embed(D.T).permute(1, 2, 0))


def coupled_jacobian(forward: ForwardPass) -> Tensor:
    """dz_n / dtheta with the other samples present, [N, C, P]."""
    z = forward.outputs
    _check_outputs(list(z.shape))
    basis = torch.eye(z.numel(), dtype=z.dtype, device=z.device).view(-1, *z.shape)
    return forward.pull_back(basis).view(*z.shape, -1)


def _check_outputs(shape: list[int]) -> None:
    """Raise Unsupported unless this is the shape [N, C]."""
    if len(shape) != 2:
        raise Unsupported(f"the Jacobian takes outputs [N, C], the model returns {shape}")
