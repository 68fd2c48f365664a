"""The instrument `optimum`: the distance of the training loss from its minimum f*, for a linear model.

    f(W) = 1/N sum_n l(W x_n, t_n) + l2/2 ||W||^2,     x_n with a 1 appended, W [C, D] with the biases

is convex for every loss of `sobench.losses`. f* is computed once for each problem, to about 1e-12, and kept in the
cache.

Method: Newton's method from W = 0 in double precision, with steps sized by Armijo's rule. Up to `DENSE` parameters each
system is solved densely (by the pseudo-inverse if the Hessian is singular). Beyond, it is solved by conjugate gradients
to a tolerance that shrinks with the gradient (Dembo, Eisenstat and Steihaug 1982).

Stopping: the gradient is 1e-12 of the first gradient and, without a penalty, the step is 1e-6 of W. The second
condition is needed because, where the data are separable, the gradient vanishes while W goes to infinity.

Existence: with l2 > 0 there is one optimum, and f - f* <= ||g||^2 / (2 l2) is below rounding at the end. Without a
penalty, a cross entropy has no optimum if some direction separates the data. The squared hinge, which is piecewise
quadratic and bounded below, always attains its minimum, possibly at many W. csfd gives no penalty for either loss:
l2 = 1/N is LIBLINEAR's C = 1 with the bias in the penalty.
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
from sobench.system.files import parse_json, write_atomically
from sobench.training.clock import Clock
from sobench.training.instruments.base import Instrument
from sobench.training.problem import Problem

GRADIENT, STEP, STEPS = 1e-12, 1e-6, 100
"""The end of Newton's method: gradient relative to the first, step relative to W, and the largest number of steps."""

DENSE, CG_ITERATIONS = 4096, 5000
"""Parameters up to which a system is solved densely; iterations of conjugate gradients at most."""


class Optimum(Instrument):
    """The suboptimality of the training loss at every evaluation.

    Columns of an evaluation: `suboptimality`, f(theta) - f*, of the whole training set with its penalty, in double
    precision whatever the run's precision; and `optimum`, f*. Below about 1e-15 f the suboptimality is rounding error,
    of either sign. Raises UsageError for a model that is not linear or a problem without an optimum, and Failure if the
    optimum is not reached or cannot be written to the cache.
    """

    def __init__(self, problem: Problem, clock: Clock, settings: dict[str, Any]):
        super().__init__(problem, clock, settings)
        self._linear = LinearProblem.of(problem, settings["l2"])
        self._layer = LinearProblem.layer(problem.model)
        folder = Store.default(settings["data"]["mirror"], settings["data"]["cache"]).cache / "optima"
        self._minimum = cached_minimum(self._linear, folder)

    def at_evaluation(self) -> dict[str, float]:
        W = torch.cat([self._layer.weight, self._layer.bias[:, None]], 1).detach().double()
        return {"suboptimality": self._linear.value(W).item() - self._minimum, "optimum": self._minimum}


@dataclass(frozen=True)
class LinearProblem:
    """The convex problem f(W).

    X [N, D]: the inputs in double precision, the last column ones. targets: as the loss takes them. l2: the penalty.
    shape: that of W, (C, D).
    """

    X: Tensor
    targets: Tensor
    loss: Loss
    l2: float
    shape: tuple[int, int]

    @classmethod
    def of(cls, problem: Problem, l2: float) -> LinearProblem:
        """The convex problem of a run's problem. Raises UsageError unless the model is one linear layer with a bias."""
        layer = cls.layer(problem.model)
        inputs, targets = problem.train
        ones = inputs.new_ones(len(inputs), 1)
        X = torch.cat([inputs.flatten(1), ones], 1).double()
        targets = targets.double() if targets.is_floating_point() else targets
        return cls(X, targets, problem.loss, l2, (layer.out_features, layer.in_features + 1))

    @staticmethod
    def layer(model: nn.Module) -> nn.Linear:
        """The only layer of a linear model. Raises UsageError unless the model is one linear layer with a bias."""
        layers = [m for m in model.modules() if next(m.children(), None) is None and not isinstance(m, nn.Flatten)]
        if len(layers) != 1 or not isinstance(layers[0], nn.Linear) or layers[0].bias is None:
            raise UsageError("instrument: optimum is of a convex problem; allowed: model=linear")
        return layers[0]

    @torch.no_grad()
    def value(self, W: Tensor) -> Tensor:
        """f(W), a scalar."""
        return self.loss(self.X @ W.T, self.targets) + self.l2 / 2 * W.square().sum()

    def derivatives(self, W: Tensor) -> tuple[Tensor, LinearOperator]:
        """The gradient [C D] and the Hessian [C D, C D] at W."""
        z = (self.X @ W.T).requires_grad_()
        (dz,) = torch.autograd.grad(self.loss(z, self.targets), z)
        z, N = z.detach(), len(z)

        def product(v: Tensor) -> Tensor:
            return (self.loss.hessian_product(z, self.targets, self.X @ v.view_as(W).T).T @ self.X / N).flatten()

        H = LinearOperator(product, W.numel(), dtype=W.dtype, device=W.device) + self.l2
        return (dz.T @ self.X + self.l2 * W).flatten(), H

    def dense(self, W: Tensor) -> Tensor:
        """The Hessian [C D, C D] as a matrix, by one product of matrices for each pair of outputs."""
        (C, D), Hz = self.shape, self.loss.hessian(self.X @ W.T, self.targets) / len(self.X)
        H = W.new_empty(C, D, C, D)
        for c, d in combinations_with_replacement(range(C), 2):
            H[c, :, d] = H[d, :, c] = (self.X * Hz[:, c, d, None]).T @ self.X
        H = H.view(C * D, C * D)
        H.diagonal().add_(self.l2)
        return H


def minimum(f: LinearProblem) -> float:
    """f*, by Newton's method. Raises UsageError if there is no optimum, Failure if it is not reached in STEPS steps."""
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
    """The step size along p by Armijo's rule, which allows a rise by rounding."""
    value = f.value(W)
    return armijo(lambda t: f.value(W + t * p.view_as(W)), value + rounding(value), g.dot(p))


def cached_minimum(f: LinearProblem, folder: Path) -> float:
    """`minimum(f)`, read from a file of `folder` if it was computed before, else computed and written there.

    The file's name is a digest of the data, the loss and l2. Raises as `minimum` does, and Failure if the file cannot
    be written.
    """
    file = folder / f"{_key(f)}.json"
    try:
        return float(parse_json(file.read_text())["minimum"])
    except (OSError, ValueError, KeyError, TypeError):  # the file is not there, or it is damaged
        value = minimum(f)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(file, json.dumps({"minimum": value}).encode())
    except OSError as error:
        raise Failure(f"optimum: cannot write {file} ({error}); SOBENCH_CACHE names another folder") from error
    return value


def _key(f: LinearProblem) -> str:
    """A digest of everything that f* depends on."""
    digest = hashlib.sha256(json.dumps([type(f.loss).__name__, f.l2, f.shape, str(f.targets.dtype)]).encode())
    for tensor in (f.X, f.targets):
        digest.update(tensor.cpu().contiguous().numpy().data)
    return digest.hexdigest()[:32]
