"""Whether a problem can answer what an optimizer asks, found before any work starts; and the optimizer, made for it."""

from __future__ import annotations

from typing import Any

import torch

from sobench.config import registry
from sobench.errors import Unsupported, UsageError
from sobench.objective import Objective
from sobench.objective.network import Network
from sobench.system import environment

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
        "fresh",
        "batches",
        "full",
        "summary",
        "complex",
        "curvature",
    }
)
"""What an optimizer may name in `requires`: the oracles of Objective; `dense` for those that form P x P matrices,
`dense_blocks` for those that keep an I D x I D matrix for each layer W [I, D], and `complex` for those that take complex steps
(`curvature`, or any oracle at complex parameters)."""

DENSE_COPIES = 3
"""P x P matrices alive at once in a dense step: the matrix, its factor, and one to work in."""


def check_requirements(requires: frozenset[str], loss: str, problem=None, device: torch.device | None = None) -> None:
    """Raises Unsupported with the reason. Without a problem only what needs no data is checked."""
    if unknown := requires - ORACLES:
        raise Unsupported(f"optimizer: requires {', '.join(sorted(unknown))}, allowed: {', '.join(sorted(ORACLES))}")
    if "sampled" in requires and not registry.load("losses", loss).samples:
        able = [name for name in registry.entries("losses") if registry.load("losses", name).samples]
        raise Unsupported(
            f"optimizer: samples labels, and loss={loss} has no predictive distribution; allowed: "
            f"loss={' | '.join(able)}"
        )
    if "dense" in requires and problem is not None:
        _check_dense(problem, device)
    if "dense_blocks" in requires and problem is not None:
        _check_blocks(problem, device)
    if "complex" in requires and problem is not None:
        _check_complex(problem, requires)


def _check_dense(problem, device: torch.device) -> None:
    p = next(problem.model.parameters())
    size = sum(q.numel() for q in problem.model.parameters() if q.requires_grad)
    needed, available = DENSE_COPIES * size**2 * p.element_size(), environment.available_memory(device)
    if needed > available:
        largest = int((available / (DENSE_COPIES * p.element_size())) ** 0.5)
        raise Unsupported(
            f"optimizer: forms P x P matrices, and this model has P = {size:,}: {needed / 2**30:,.0f} GiB needed, "
            f"{available / 2**30:,.0f} GiB free; allowed: at most {largest:,} parameters here"
        )


def _check_blocks(problem, device: torch.device) -> None:
    """The blocks of all layers, and of the largest its factor and one to work in."""
    theta = torch.cat([p.detach().flatten() for p in problem.model.parameters() if p.requires_grad])
    sizes = {name: W.numel() for name, W in Network(problem.model).matrices.join(theta).items()}
    largest = max(sizes, key=sizes.get)
    entries = sum(size**2 for size in sizes.values()) + (DENSE_COPIES - 1) * sizes[largest] ** 2
    needed, available = entries * theta.element_size(), environment.available_memory(device)
    if needed > available:
        raise Unsupported(
            f"optimizer: forms a matrix of n x n for the n parameters of each layer, and layer {largest} has "
            f"n = {sizes[largest]:,}: {needed / 2**30:,.1f} GiB needed, {available / 2**30:,.1f} GiB free; "
            "allowed: narrower layers"
        )


def _check_complex(problem, requires: frozenset[str]) -> None:
    """A pass over two samples, on a meter of its own; what torch loads for its first dual number it loads here, off the clock."""
    f = problem.first_objective()
    two = Objective(problem.model, problem.loss, [part[:2] for part in f.batch], streams=f.streams)
    theta = two.space.get()
    try:
        two.curvature(theta) if "curvature" in requires else two.loss(theta + 0j)
    except Unsupported as error:
        reason = f"optimizer: takes complex steps, and there is {error}; allowed: layers that have a complex form"
        raise Unsupported(reason) from error


def make_optimizer(cls: type, settings: dict[str, Any], parameters) -> torch.optim.Optimizer:
    """The optimizer with its hyperparameters. Raises UsageError with the constructor's own complaint."""
    hyperparameters = {k: tuple(v) if isinstance(v, list) else v for k, v in settings.items() if k != "name"}
    try:
        return cls(parameters, **hyperparameters)
    except (TypeError, ValueError) as error:
        raise UsageError(f"optimizer {settings['name']!r}: {error}") from error
