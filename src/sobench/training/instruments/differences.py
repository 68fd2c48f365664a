"""The instrument `differences`: relative errors of finite differences and complex steps, by the size of the step."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from sobench.linalg.complex_step import (
    central_difference,
    central_product,
    complex_step,
    forward_difference,
    forward_product,
)
from sobench.objective import Objective
from sobench.objective.complex_oracles import complex_hessian
from sobench.training.clock import Clock
from sobench.training.instruments.base import Instrument
from sobench.training.problem import Problem


class Differences(Instrument):
    """Relative errors of derivatives, with one step size h in each row of the record (csfd, figure 1).

    There are `points` step sizes from 10^smallest to 10^largest, spaced equally in logarithms. The schemes are forward,
    central and complex. Needs log.every=1, and at least as many steps as points.

    Readings:
        h                   the step size
        function/<scheme>   the error of f'(x) against its formula, f(x) = e^x / (x^2 + 1) at x = 10
        function/second     the error of f''(x) by two imaginary units, that of a complex number and that of a dual
                            number, as in `Objective.curvature`
        product/<scheme>    the error of Hp against autograd's in the run's precision; H is the Hessian of the first
                            batch's loss, p its normalised gradient
        product/second      the error of p'Hp
    """

    def __init__(self, problem: Problem, clock: Clock, settings: dict[str, Any]):
        super().__init__(problem, clock, settings)
        own = settings["instrument"]
        self._left = torch.logspace(own["smallest"], own["largest"], own["points"], dtype=torch.float64).tolist()

    def readings(self) -> dict[str, float]:
        if not self._left:
            return {}
        h = self._left.pop(0)
        return {
            "h": h,
            **_named("function", of_the_example(h)),
            **_named("product", of_a_product(self._objective(), h)),
        }

    def _objective(self) -> Objective:
        return self._unmetered(self.problem.first_objective())

    def state_dict(self) -> dict[str, Any]:
        return {"left": self._left}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._left = state["left"]


def example(x: Tensor) -> Tensor:
    """f(x) = e^x / (x^2 + 1)."""
    return x.exp() / (x * x + 1)


def of_the_example(h: float) -> dict[str, float]:
    """The relative error of each scheme with step size h, for f'(x) and f''(x) of `example` at x = 10.

    With q = x^2 + 1: f' = f (q - 2x) / q and f'' = f (q^2 - 4xq + 8x^2 - 2q) / q^2.
    """
    x = torch.tensor(10.0, dtype=torch.float64)
    q, f = x * x + 1, example(x)
    slope, bend = f * (q - 2 * x) / q, f * (q * q - 4 * x * q + 8 * x * x - 2 * q) / (q * q)
    at = torch.complex(x, torch.tensor(h, dtype=torch.float64))
    derivative = torch.func.jvp(example, (at,), (torch.ones_like(x) + 0j,))[1]
    second = derivative.imag / h
    estimates = {
        "forward": forward_difference(example, x, h),
        "central": central_difference(example, x, h),
        "complex": complex_step(example, x, h),
    }
    return {name: _error(value, slope) for name, value in estimates.items()} | {"second": _error(second, bend)}


def of_a_product(f: Objective, h: float) -> dict[str, float]:
    """The relative error, in norm, of each scheme's Hp with step size h, p = g / ||g||, and of p'Hp."""
    theta, g = f.space.get(), f.value_and_grad()[1]
    p = g / g.norm()
    exact = f.hessian() @ p

    def gradient(at: Tensor) -> Tensor:
        return f.value_and_grad(at)[1]

    estimates = {
        "forward": forward_product(gradient, theta, p, h),
        "central": central_product(gradient, theta, p, h),
        "complex": complex_hessian(f, h) @ p,
    }
    errors = {name: _error(value, exact) for name, value in estimates.items()}
    return errors | {"second": _error(f.curvature(p, h), p @ exact)}


def _error(value: Tensor, exact: Tensor) -> float:
    """The relative error in norm: at least a tenth of the rounding unit, so that it has a logarithm; inf for NaN."""
    error = float((value - exact).norm() / exact.norm())
    return max(error, torch.finfo(exact.dtype).eps / 10) if math.isfinite(error) else math.inf


def _named(prefix: str, values: dict[str, float]) -> dict[str, float]:
    return {f"{prefix}/{name}": value for name, value in values.items()}
