"""How far the training loss of a convex problem is from its minimum.

The optimum of a linear model: f* = min f(W) of the whole training set, to about 1e-12, once for each problem.

    f(W) = 1/N sum_n l(W x_n, t_n) + l2/2 ||W||^2,     x_n with a 1 appended, W [C, D] with the biases

is convex for every loss of `sobench.losses`. Newton's method from W = 0 in double precision, the steps sized by Armijo's rule:
by a dense solve (the pseudo-inverse of a singular Hessian) up to `DENSE` parameters, beyond by conjugate gradients to a
tolerance that shrinks with the gradient (Dembo, Eisenstat and Steihaug 1982). The end is a gradient of 1e-12 of the first one
and, without a penalty, a step of 1e-6 of W: where the data are separable the gradient vanishes too, but W goes to infinity.

With l2 > 0 there is one optimum, and f - f* <= ||g||^2 / (2 l2) is below rounding at the end. Without, a cross entropy has none
where some direction separates the data; the squared hinge, piecewise quadratic and bounded below, always attains its minimum,
maybe at many W. csfd gives no penalty for either: l2 = 1/N is LIBLINEAR's C = 1 with the bias in the penalty.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from itertools import combinations_with_replacement
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sobench.data import Store
from sobench.errors import Failure, UsageError
from sobench.linalg import LinearOperator, cg, solve_symmetric
from sobench.linalg.linesearch import armijo, rounding
from sobench.losses import Loss
from sobench.system.files import write_atomically
from sobench.training.clock import Clock
from sobench.training.instruments.base import Instrument
from sobench.training.problem import Problem


class Optimum(Instrument):
    """At every evaluation `suboptimality`, f(theta) - f*, of the whole training set with its penalty, in double precision
    whatever the run's; and `optimum`, f* (`sobench.training.instruments.optimum`), which is found once and kept in the cache. Below about 1e-15 f it
    is rounding, of either sign. Raises UsageError for a model that is not linear, and where there is no optimum.
    """

    def __init__(self, problem: Problem, clock: Clock, settings: dict[str, Any]):
        super().__init__(problem, clock, settings)
        self._linear = LinearProblem.of(problem, settings["l2"])
        self._layer = LinearProblem.layer(problem.model)
        folder = Store.default(settings["data"]["mirror"], settings["data"]["cache"]).cache / "optima"
        self._minimum = kept_minimum(self._linear, folder)

    def at_evaluation(self) -> dict[str, float]:
        W = torch.cat([self._layer.weight, self._layer.bias[:, None]], 1).detach().double()
        return {"suboptimality": self._linear.value(W).item() - self._minimum, "optimum": self._minimum}


GRADIENT, STEP, STEPS = 1e-12, 1e-6, 100
DENSE, CG_ITERATIONS = 4096, 5000


@dataclass(frozen=True)
class LinearProblem:
    """X [N, D], the last column ones, in double precision; targets and loss as the loss takes them; W [C, D]."""

    X: Tensor
    targets: Tensor
    loss: Loss
    l2: float
    shape: tuple[int, int]

    @classmethod
    def of(cls, problem: Problem, l2: float) -> LinearProblem:
        """Raises UsageError unless the model is one linear layer with a bias."""
        layer = cls.layer(problem.model)
        inputs, targets = problem.train
        ones = inputs.new_ones(len(inputs), 1)
        X = torch.cat([inputs.flatten(1), ones], 1).double()
        targets = targets.double() if targets.is_floating_point() else targets
        return cls(X, targets, problem.loss, l2, (layer.out_features, layer.in_features + 1))

    @staticmethod
    def layer(model: nn.Module) -> nn.Linear:
        layers = [m for m in model.modules() if next(m.children(), None) is None and not isinstance(m, nn.Flatten)]
        if len(layers) != 1 or not isinstance(layers[0], nn.Linear) or layers[0].bias is None:
            raise UsageError("instrument: optimum is of a convex problem; allowed: model=linear")
        return layers[0]

    @torch.no_grad()
    def value(self, W: Tensor) -> Tensor:
        return self.loss(self.X @ W.T, self.targets) + self.l2 / 2 * W.square().sum()

    def derivatives(self, W: Tensor) -> tuple[Tensor, LinearOperator]:
        """The gradient [C D] and the Hessian [C D, C D]."""
        z = (self.X @ W.T).requires_grad_()
        (dz,) = torch.autograd.grad(self.loss(z, self.targets), z)
        z, N = z.detach(), len(z)

        def product(v: Tensor) -> Tensor:
            return (self.loss.hessian_product(z, self.targets, self.X @ v.view_as(W).T).T @ self.X / N).flatten()

        H = LinearOperator(product, W.numel(), dtype=W.dtype, device=W.device) + self.l2
        return (dz.T @ self.X + self.l2 * W).flatten(), H

    def dense(self, W: Tensor) -> Tensor:
        """The Hessian, a product of matrices for each pair of outputs."""
        (C, D), Hz = self.shape, self.loss.hessian(self.X @ W.T, self.targets) / len(self.X)
        H = W.new_empty(C, D, C, D)
        for c, d in combinations_with_replacement(range(C), 2):
            H[c, :, d] = H[d, :, c] = (self.X * Hz[:, c, d, None]).T @ self.X
        H = H.view(C * D, C * D)
        H.diagonal().add_(self.l2)
        return H


def minimum(f: LinearProblem) -> float:
    """f*. Raises UsageError where there is none, Failure where it is not found."""
    W, first = f.X.new_zeros(f.shape), None
    for _ in range(STEPS):
        g, H = f.derivatives(W)
        size = g.norm().item()
        first = first or size
        if W.numel() <= DENSE:
            p = -solve_symmetric(f.dense(W), g).x
        else:
            p = cg(H, -g, max_iterations=CG_ITERATIONS, tol=min(0.1, size / first) if first else 0.0).x
        if size <= GRADIENT * first and (f.l2 or p.norm() <= STEP * W.norm()):
            return f.value(W).item()
        W = W + _rate(f, W, g, p) * p.view_as(W)
    if not f.l2:
        raise UsageError(
            "instrument: without a penalty the training loss has no optimum here, for some direction separates the "
            "classes; allowed: l2 above 0"
        )
    raise Failure(f"optimum: not found in {STEPS} Newton steps; a larger l2 makes it easier")


def _rate(f: LinearProblem, W: Tensor, g: Tensor, p: Tensor) -> float:
    """By Armijo's rule, a rise by rounding allowed."""
    value = f.value(W)
    return armijo(lambda t: f.value(W + t * p.view_as(W)), value + rounding(value), g.dot(p))


def kept_minimum(f: LinearProblem, folder: Path) -> float:
    """`minimum(f)`, from a file of `folder` if it was found before: one of the data, the loss and l2. Raises as it does."""
    file = folder / f"{_key(f)}.json"
    try:
        return float(json.loads(file.read_text())["minimum"])
    except (OSError, ValueError, KeyError, TypeError):  # not there, or damaged
        found = minimum(f)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(file, json.dumps({"minimum": found}).encode())
    except OSError as error:
        raise Failure(f"optimum: cannot write {file} ({error}); SOBENCH_CACHE names another folder") from error
    return found


def _key(f: LinearProblem) -> str:
    """Of all that f* depends on."""
    found = hashlib.sha256(json.dumps([type(f.loss).__name__, f.l2, f.shape, str(f.targets.dtype)]).encode())
    for tensor in (f.X, f.targets):
        found.update(tensor.cpu().contiguous().numpy().data)
    return found.hexdigest()[:32]
