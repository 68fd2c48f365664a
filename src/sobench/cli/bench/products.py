"""Curvature products and iterations of conjugate gradients: their time on the model and the batch of an objective.

A product is compared with a gradient, an iteration with a product of the matrix that it multiplies with. The time of an
iteration is the difference of a long and a short solve, which leaves out what a solve does once.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sobench.cli.bench.overhead import ratio, rounds, seconds
from sobench.linalg.cg_descent import cg_descent
from sobench.linalg.early_cg import early_cg
from sobench.linalg.krylov import cg
from sobench.objective import Objective
from sobench.optim.newton_krylov import CURVATURES, Damped

SHORT, LONG = 4, 8
"""Iterations of the two solves."""
DAMPING = 1e-3
"""Added to the matrix of a solve: small, so that LONG iterations do not yet solve the system to the last digit."""
CALLS_SECONDS = 0.05
"""The time of the calls of a round, about; at least one call."""

Call = Callable[[], object]
Solve = Callable[[int], object]
"""A solve with so many iterations."""


class Row(NamedTuple):
    """What a row measures: a call, or the iteration of a solve, and the call that it is compared with."""

    measured: Callable[[Objective, Tensor], Any]
    unit: Callable[[Objective, Tensor], Call]
    solves: bool = False


def _gradient(f: Objective, v: Tensor) -> Call:
    return lambda: f.on(f.batch, f.streams).value_and_grad()


def _ggn_product(f: Objective, v: Tensor) -> Call:
    G = f.ggn()
    return lambda: G @ v


def _hessian_product(f: Objective, v: Tensor) -> Call:
    H = f.hessian()
    return lambda: H @ v


def _cg(f: Objective, v: Tensor) -> Solve:
    A = f.ggn() + DAMPING
    return lambda n: cg(A, v, max_iterations=n, tol=0.0)


def _cg_descent(f: Objective, v: Tensor) -> Solve:
    A = f.ggn() + v.new_tensor(DAMPING)
    return lambda n: cg_descent(A, v, max_iterations=n, tol=0.0)


def _early_cg(f: Objective, v: Tensor) -> Solve:
    H, x = Damped(CURVATURES["autograd"](f, v, None), DAMPING), torch.zeros_like(v)
    return lambda n: early_cg(H, v, x, max_iterations=n, tol=0.0, early_termination=False)


ROWS = {
    "ggn product": Row(_ggn_product, _gradient),
    "hessian product": Row(_hessian_product, _gradient),
    "hf_gauss_newton, iteration": Row(_cg, _ggn_product, solves=True),
    "hessian_free, iteration": Row(_cg_descent, _ggn_product, solves=True),
    "newton_krylov, iteration": Row(_early_cg, _hessian_product, solves=True),
}
"""{name: what it measures}. newton_krylov: with curvature=autograd."""


def compare(f: Objective, row: Row) -> str:
    """The times of a row in words, on the batch of f."""
    v = f.value_and_grad()[1]
    measured, unit = row.measured(f, v), row.unit(f, v)
    calls = max(1, round(CALLS_SECONDS / min(_seconds(unit, v.device) for _ in range(3))))
    if row.solves:
        solves = max(1, calls // LONG)
        return ratio(rounds(lambda: _of_iteration(measured, v.device, solves), lambda: _seconds(unit, v.device, calls)))
    return ratio(rounds(lambda: _seconds(measured, v.device, calls), lambda: _seconds(unit, v.device, calls)))


def _seconds(call: Call, device: torch.device, repeat: int = 1) -> float:
    """The time of a call."""

    def calls() -> None:
        for _ in range(repeat):
            call()

    return seconds(calls, device) / repeat


def _of_iteration(solve: Solve, device: torch.device, repeat: int) -> float:
    """The time of an iteration."""
    short, long = (_seconds(partial(solve, n), device, repeat) for n in (SHORT, LONG))
    return (long - short) / (LONG - SHORT)
