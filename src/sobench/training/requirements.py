"""Requirements of an optimizer: the oracles that it declares, checked against loss and problem before any step."""

from __future__ import annotations

import torch

from sobench.config import registry
from sobench.errors import Unsupported
from sobench.objective import Objective
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
        "dense_blocks",
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
    }
)
"""The names that an optimizer may list in `requires`: the oracles of Objective, and three further names. `dense`: the
optimizer forms P x P matrices. `dense_blocks`: it keeps an I D x I D matrix for each layer W [I, D]. `complex`: it
takes complex steps (`curvature`, or any oracle at complex parameters)."""

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
    if "dense_blocks" in requires:
        _check_blocks(problem, device)
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


def _check_blocks(problem: Problem, device: torch.device) -> None:
    """Room for the blocks of all layers, and for a factor and a work matrix of the largest block."""
    theta = torch.cat([p.detach().flatten() for p in problem.model.parameters() if p.requires_grad])
    sizes = {name: W.numel() for name, W in Network(problem.model).matrices.join(theta).items()}
    largest = max(sizes, key=lambda name: sizes[name])
    entries = sum(size**2 for size in sizes.values()) + (DENSE_COPIES - 1) * sizes[largest] ** 2
    needed, available = entries * theta.element_size(), environment.available_memory(device)
    if needed > available:
        raise Unsupported(
            f"optimizer: forms a matrix of n x n for the n parameters of each layer, and layer {largest} has "
            f"n = {sizes[largest]:,}: {needed / 2**30:,.1f} GiB needed, {available / 2**30:,.1f} GiB free; "
            "allowed: narrower layers"
        )


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
        elif "value_and_grad" in requires:
            two.value_and_grad(theta + 0j)
        else:
            two.loss(theta + 0j)
    except Unsupported as error:
        reason = f"optimizer: takes complex steps, and there is {error}; allowed: layers that have a complex form"
        raise Unsupported(reason) from error
