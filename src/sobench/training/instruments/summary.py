"""The instrument `summary`: the Hessian summed over groups of parameters, and the step sizes that it gives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from sobench.linalg.cubic import minimise_cubic
from sobench.objective.parameter_space import ParameterSpace
from sobench.objective.taylor.partition import make_partition
from sobench.training.clock import Clock
from sobench.training.instruments.base import Instrument
from sobench.training.problem import Problem


class SummaryInstrument(Instrument):
    """The block-summed Hessian of the training loss at every evaluation, under any optimizer.

    The direction u is the gradient of the whole training set, and all derivatives are of the whole training set
    (Wolinski, section 6.1, figures 1 and 2). s and t are names of groups of `partition`.

    Columns of an evaluation:
        hessian/<s>/<t>     H_bar
        inverse/<s>/<t>     its inverse
        gradient/<s>        g_bar
        eta/<s>             the step sizes of equation 10 with the setting lambda_int
        coupling/<s>/<t>    |H_st| / sqrt(|H_ss H_tt|), which does not depend on the scale of a group
        inverse_coupling/<s>/<t>  the same of the inverse
        coupling/hessian    the mean coupling over s != t of H_bar
        coupling/inverse    the mean coupling over s != t of the inverse
    """

    def __init__(self, problem: Problem, clock: Clock, settings: dict[str, Any]):
        super().__init__(problem, clock, settings)
        self._lambda_int = settings["instrument"]["lambda_int"]
        self._partition = make_partition(
            ParameterSpace(problem.model.named_parameters()), settings["instrument"]["partition"]
        )

    def at_evaluation(self) -> dict[str, float]:
        f = self._unmetered(self.problem.first_objective()).full()
        first, second, third = (term.double() for term in f.summary(f.value_and_grad()[1], self._partition))
        eta = minimise_cubic(second, first, third.abs() ** (1 / 3), self._lambda_int).eta
        names, finite = self._partition.names, bool(second.isfinite().all())
        inverse = torch.linalg.pinv(second, hermitian=True) if finite else torch.full_like(second, torch.nan)
        pairs = [f"{s}/{t}" for s in names for t in names]
        coupled, inverse_coupled = _coupling(second), _coupling(inverse)
        return {
            "coupling/hessian": _mean_of_others(coupled),
            "coupling/inverse": _mean_of_others(inverse_coupled),
            **_named("coupling", pairs, coupled.flatten()),
            **_named("inverse_coupling", pairs, inverse_coupled.flatten()),
            **_named("gradient", names, first),
            **_named("eta", names, eta),
            **_named("hessian", pairs, second.flatten()),
            **_named("inverse", pairs, inverse.flatten()),
        }


def _coupling(matrix: torch.Tensor) -> torch.Tensor:
    """|M_st| / sqrt(|M_ss M_tt|) of a square matrix M."""
    size = matrix.diagonal().abs().sqrt()
    return matrix.abs() / size / size[:, None]


def _mean_of_others(coupled: torch.Tensor) -> float:
    """The mean of the off-diagonal entries; 0 for a single group."""
    others = len(coupled) * (len(coupled) - 1)
    return float((coupled.sum() - coupled.trace()) / max(others, 1))


def _named(prefix: str, names: Sequence[str], values: torch.Tensor) -> dict[str, float]:
    return {f"{prefix}/{name}": value for name, value in zip(names, values.tolist())}
