"""Requirements of an optimizer: the oracles that it declares, checked against loss and problem before any step."""

from __future__ import annotations

import torch

from sobench.config import registry
from sobench.errors import Unsupported
from sobench.objective import Objective
from sobench.objective.layers.modes import tensor_shapes
from sobench.objective.network import Network
from sobench.system import environment
from sobench.training.problem import Problem

ORACLES = frozenset(
    {
        "closure",
        "loss",
        "value_and_grad",
        "hessian",
        "ggn",
        "dense",
        "per_sample_grads",
        "output_jacobian",
        "record",
        "propagate",
        "propagate_roots",
        "accumulate",
        "sampled",
        "independent_batch",
        "batches",
        "full",
        "summary",
        "complex",
        "curvature",
        "dense_blocks",
        "dense_inputs",
        "dense_outputs",
        "dense_modes",
    }
)
"""The names that an optimizer may list in `requires`: the oracles of Objective, and six further names. `dense`: the
optimizer forms P x P matrices. `complex`: it takes complex steps (`curvature`, or any oracle at complex parameters).
The others, MEMORY, name matrices that it keeps."""

MEMORY = frozenset({"dense_blocks", "dense_inputs", "dense_outputs", "dense_modes"})
"""Matrices that an optimizer keeps: I D x I D, D x D or I x I for each layer W [I, D], or d x d for each mode of length
d of each tensor."""

DENSE_COPIES = 3
"""P x P matrices in memory at once during a dense step: the matrix, its factor, and one work matrix."""


def requirements_of(cls: type) -> frozenset[str]:
    """The oracles that an optimizer class declares in `requires`; the closure alone if it declares none."""
    return frozenset(getattr(cls, "requires", {"closure"}))


def check_declaration(requires: frozenset[str], loss: str) -> None:
    """Check what can be checked without data: `requires` names known oracles, and `loss` can sample labels if needed.

    Raises Unsupported with the reason.
    """
    if unknown := requires - ORACLES:
        raise Unsupported(f"optimizer: requires {', '.join(sorted(unknown))}, allowed: {', '.join(sorted(ORACLES))}")
    if "sampled" in requires and not registry.load("losses", loss).samples:
        able = [name for name in registry.entries("losses") if registry.load("losses", name).samples]
        raise Unsupported(
            f"optimizer: samples labels, and loss={loss} has no predictive distribution; allowed: "
            f"loss={' | '.join(able)}"
        )


def check_problem(requires: frozenset[str], problem: Problem, device: torch.device) -> None:
    """Check that dense matrices fit into the free memory of `device`, and that the model has a complex form if needed.

    Raises Unsupported with the reason.
    """
    if "dense" in requires:
        _check_dense(problem, device)
    if requires & MEMORY:
        _check_kept(problem, requires, device)
    if "complex" in requires:
        _check_complex(problem, requires)


def _check_dense(problem: Problem, device: torch.device) -> None:
    """Room for DENSE_COPIES matrices of P x P, P being the number of trainable parameters."""
    p = next(problem.model.parameters())
    size = sum(q.numel() for q in problem.model.parameters() if q.requires_grad)
    needed, available = DENSE_COPIES * size**2 * p.element_size(), environment.available_memory(device)
    if needed > available:
        largest = int((available / (DENSE_COPIES * p.element_size())) ** 0.5)
        raise Unsupported(
            f"optimizer: forms P x P matrices, and this model has P = {size:,}: {needed / 2**30:,.0f} GiB needed, "
            f"{available / 2**30:,.0f} GiB free; allowed: at most {largest:,} parameters here"
        )


def _check_kept(problem: Problem, requires: frozenset[str], device: torch.device) -> None:
    """Room for the matrices of MEMORY that are kept, and for a factor and a work matrix of the largest one."""
    network = Network(problem.model)
    sizes = _kept_sizes(network, requires)
    if not sizes:
        return
    largest, size = max(sizes, key=lambda kept: kept[1])
    entries = sum(n**2 for _, n in sizes) + (DENSE_COPIES - 1) * size**2
    needed, available = entries * network.space.dtype.itemsize, environment.available_memory(device)
    if needed > available:
        raise Unsupported(
            f"optimizer: forms a matrix of n x n for {largest} with n = {size:,}: {needed / 2**30:,.1f} GiB needed for "
            f"all, {available / 2**30:,.1f} GiB free; allowed: narrower layers"
        )


def _kept_sizes(network: Network, requires: frozenset[str]) -> list[tuple[str, int]]:
    """What each matrix is for, and its number of rows."""
    sizes: list[tuple[str, int]] = []
    if "dense_modes" in requires:
        shapes = tensor_shapes(network.model, network.space)
        sizes += [(f"a mode of {name}", d) for name, shape in shapes.items() for d in shape]
    if requires & (MEMORY - {"dense_modes"}):
        for name, (weight, bias) in network.matrices.parts(network.space.get()).items():
            I, D = len(weight), weight[0].numel() + (bias is not None)
            for word, what, n in (
                ("dense_blocks", "the parameters", I * D),
                ("dense_inputs", "the inputs", D),
                ("dense_outputs", "the outputs", I),
            ):
                sizes += [(f"{what} of layer {name}", n)] if word in requires else []
    return sizes


def _check_complex(problem: Problem, requires: frozenset[str]) -> None:
    """Try one complex pass over two samples.

    The pass has a cost meter of its own, so it does not count as work of the run. It also makes torch load its
    forward-mode code before the clock starts.
    """
    f = problem.first_objective()
    inputs, targets = f.batch
    two = Objective(problem.model, problem.loss, (inputs[:2], targets[:2]), streams=f.streams)
    theta = two.space.get()
    try:
        if "curvature" in requires:
            two.curvature(theta)
        else:
            two.loss(theta + 0j)
    except Unsupported as error:
        reason = f"optimizer: takes complex steps, and there is {error}; allowed: layers that have a complex form"
        raise Unsupported(reason) from error
