"""Requirements of an optimizer: the oracles that it declares, checked against loss and problem before any step.

What an optimizer declares also tells what a step costs if it factors matrices whose size grows with the model.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import cache

import torch

from sobench.config import registry
from sobench.errors import Unsupported
from sobench.linalg.dense import eigh
from sobench.objective import Objective, torch_private
from sobench.objective.layers.modes import tensor_shapes
from sobench.objective.network import Network
from sobench.system import environment
from sobench.system.text import format_duration
from sobench.training.problem import Problem, load_loss, losses_that

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

FIRST_ORDER = MEMORY | {"closure", "loss", "value_and_grad", "batches", "sampled", "full"}
"""Oracles that need nothing of torch but its backward pass."""

PRODUCTS = frozenset({"hessian", "ggn", "dense", "record", "propagate", "propagate_roots", "accumulate"})
"""Oracles that need products with Jacobians."""

DENSE_COPIES = 3
"""P x P matrices in memory at once during a dense step: the matrix, its factor, and one work matrix."""

EIGEN_FLOPS, CHOLESKY_FLOPS = 9, 1 / 3
"""Operations of the two factorizations of an n x n matrix, in n^3: LAPACK's divide and conquer, and Cholesky's."""

SAMPLE = {"cpu": 512, "cuda": 4096}
"""Size of the matrix whose decomposition is timed, by type of device: the rate hardly grows beyond it. A step whose
matrices are no larger is not estimated."""


def requirements_of(cls: type) -> frozenset[str]:
    """The oracles that an optimizer class declares in `requires`; the closure alone if it declares none."""
    return frozenset(getattr(cls, "requires", {"closure"}))


def load_late_imports(name: str, requires: frozenset[str]) -> None:
    """Import what torch would import in the first step of the optimizer `name`, whose time would count as the step's.

    A plug-in may call anything of torch.
    """
    if not requires <= FIRST_ORDER | PRODUCTS or registry.is_plugin("optimizer", name):
        torch_private.load_compiler()
    elif not requires <= FIRST_ORDER:
        torch_private.load_products()


def check_declaration(requires: frozenset[str], loss: str) -> None:
    """Check what can be checked without data: `requires` names known oracles, and `loss` can sample labels if needed.

    Raises Unsupported with the reason.
    """
    if unknown := requires - ORACLES:
        raise Unsupported(f"optimizer: requires {', '.join(sorted(unknown))}, allowed: {', '.join(sorted(ORACLES))}")
    if "sampled" in requires and not load_loss(loss).samples:
        able = losses_that(lambda other: other.samples)
        raise Unsupported(
            f"optimizer: samples labels, and loss={loss} has no predictive distribution; allowed: "
            f"loss={' | '.join(able)}"
        )


def check_problem(
    requires: frozenset[str], problem: Problem, device: torch.device, longest_step: float | None = None
) -> None:
    """Check that dense matrices fit into the free memory of `device`, and that the model has a complex form if needed.

    Also check that the factorizations of a step take at most `longest_step` seconds, by an estimate; None: any time.
    Raises Unsupported with the reason.
    """
    if "dense" in requires:
        _check_dense(problem, device)
        _check_time([_size(problem)], EIGEN_FLOPS, problem, device, longest_step)
    if requires & MEMORY:
        _check_kept(problem, requires, device)
    if "dense_blocks" in requires:
        sizes = [size for _, size in _kept_sizes(Network(problem.model), frozenset({"dense_blocks"}))]
        _check_time(sizes, CHOLESKY_FLOPS, problem, device, longest_step)
    if "propagate_roots" in requires:
        _check_roots(problem, device)
    if "complex" in requires:
        _check_complex(problem, requires)


def _check_dense(problem: Problem, device: torch.device) -> None:
    """Room for DENSE_COPIES matrices of P x P, P being the number of trainable parameters."""
    p = next(problem.model.parameters())
    size = _size(problem)
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


def _check_roots(problem: Problem, device: torch.device) -> None:
    """Room for the rows of `propagate_roots`, one for each output of a sample: at the outputs, and at each layer's."""
    f = problem.first_objective().unmetered()
    with torch.no_grad(), f.record() as layers:
        C = f.outputs_at(None).shape[1]
    N = problem.batch_size
    width = sum(call.outputs[0].numel() for record in layers.values() for call in record.calls)
    needed, available = N * C * (C + width) * f.space.dtype.itemsize, environment.available_memory(device)
    if needed > available:
        raise Unsupported(
            f"optimizer: takes a row for each of {C:,} outputs of each of {N:,} samples through the layers: "
            f"{needed / 2**30:,.1f} GiB needed, {available / 2**30:,.1f} GiB free; allowed: fewer outputs, or a "
            "smaller batch_size"
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


def _size(problem: Problem) -> int:
    """P, the number of trainable parameters."""
    return sum(q.numel() for q in problem.model.parameters() if q.requires_grad)


def _check_time(
    sizes: Sequence[int], flops: float, problem: Problem, device: torch.device, longest_step: float | None
) -> None:
    """The time to factor a matrix of each of these sizes, `flops` n^3 operations each, at the rate of this machine."""
    n, sample = max(sizes, default=0), SAMPLE[device.type]
    if longest_step is None or n <= sample:
        return
    dtype = next(problem.model.parameters()).dtype
    rate = EIGEN_FLOPS * sample**3 / _decomposition_seconds(sample, dtype, device, torch.get_num_threads())
    seconds = flops * sum(size**3 for size in sizes) / rate
    if seconds > longest_step:
        largest = int(n * (longest_step / seconds) ** (1 / 3))
        raise Unsupported(
            f"optimizer: each step factors a {n:,} x {n:,} matrix, which takes about {format_duration(seconds)} at "
            f"{rate / 1e9:,.0f} Gflop/s here; allowed: longest_step={longest_step:g} s, which is a matrix of "
            f"{largest:,} rows; to run it anyway: longest_step=null"
        )


@cache
def _decomposition_seconds(n: int, dtype: torch.dtype, device: torch.device, threads: int) -> float:
    """The time of an eigendecomposition of an n x n matrix: the shorter of two, of which the first loads the library.

    threads: those of torch, on which the time depends.
    """
    A = torch.randn(n, n, dtype=dtype, device=device, generator=torch.Generator(device).manual_seed(0))
    times = []
    for _ in range(2):
        began = time.perf_counter()
        float(eigh(A + A.T)[0][0])  # waits for the device
        times.append(time.perf_counter() - began)
    return min(times)


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
