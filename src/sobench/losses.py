"""Losses: means over the batch, with their curvature in the outputs and samples of their predictive distribution.

    f(z, t) = 1/N sum_n l(z_n, t_n)            outputs z [N, C], targets t of N samples

Every loss is twice differentiable and has an analytic extension to complex outputs (branches depend on the real part),
so that Im f(z + ihv) / h is its directional derivative up to rounding. Nothing here copies to the host or synchronises
with a device.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from sobench.errors import Unsupported, UsageError
from sobench.objective.holomorphic.scalars import log_sum_exp, softplus

REVISION = 1
"""Part of every method's fingerprint. Raise it when a change here, or in holomorphic.scalars, can change a result."""

_NO_LABEL = torch.iinfo(torch.int64).min  # F.cross_entropy ignores this label; its default, -100, may be a mistake


class Loss(ABC):
    """The interface of a loss. Methods with targets raise UsageError for targets of a wrong shape or type.

    samples: whether the loss has a predictive distribution, and so sample().
    takes: the targets, integer "labels" [N], real "values" [N, C], or labels of "sequences" [N, T].
    bounds: the range of real targets. The losses do not check it; the owner of a data set checks it once.
    """

    samples = True
    takes = "labels"
    bounds = (-math.inf, math.inf)

    @abstractmethod
    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The mean loss, a scalar, for real or complex outputs [N, C]."""

    @abstractmethod
    def hessian(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """H_n = d^2 l(z_n, t_n) / dz_n^2 of every sample, [N, C, C], without the 1/N of the mean."""

    @abstractmethod
    def hessian_product(self, outputs: Tensor, targets: Tensor, v: Tensor) -> Tensor:
        """H_n v_n of every sample, shaped as v [..., N, C]. Forms no C x C matrix."""

    def hessian_root(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """R_n with R_n R_n^T = H_n for every sample, [N, C, C], for a loss that is convex in its outputs."""
        eigenvalues, Q = torch.linalg.eigh(self.hessian(outputs, targets))
        return Q * eigenvalues.clamp(min=0).sqrt()[:, None]

    @abstractmethod
    def sample(self, outputs: Tensor, generator: Generator | None = None) -> Tensor:
        """Targets drawn from p(t | z), in the form that the loss takes, without a graph.

        generator: the source of randomness; None: torch's global one. Raises Unsupported without a distribution.
        """

    def predict(self, outputs: Tensor) -> Tensor:
        """The mean of p(t | z), [N, C]; the outputs themselves for a loss without such a distribution."""
        return outputs


class CrossEntropy(Loss):
    """l(z, t) = log sum_c exp(z_c) - z_t, for integer labels t [N] in 0..C-1. p(t | z) = softmax(z)_t."""

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        targets = _labels(self, outputs, targets)
        try:
            if not outputs.is_complex():
                return F.cross_entropy(outputs, targets, ignore_index=_NO_LABEL)
            return (log_sum_exp(outputs, 1) - outputs.gather(1, targets[:, None])).mean()
        except (IndexError, RuntimeError) as error:
            raise _bad_label(self, outputs, error) from error

    def hessian(self, outputs: Tensor, targets: Tensor) -> Tensor:
        p = outputs.softmax(1)
        return torch.diag_embed(p) - torch.einsum("nc,nd->ncd", p, p)

    def hessian_product(self, outputs: Tensor, targets: Tensor, v: Tensor) -> Tensor:
        p = outputs.softmax(1)
        pv = p * v
        return pv - p * pv.sum(-1, keepdim=True)

    def hessian_root(self, outputs: Tensor, targets: Tensor) -> Tensor:
        p = outputs.softmax(1)
        q = p.sqrt()  # unit vectors, so diag(q) (I - q q') is a root of diag(p) - p p'
        return torch.diag_embed(q) - torch.einsum("nc,nd->ncd", p, q)

    @torch.no_grad()
    def sample(self, outputs: Tensor, generator: Generator | None = None) -> Tensor:
        clocks = torch.empty_like(outputs).exponential_(generator=generator)
        return (outputs - clocks.log()).argmax(1)  # clock_c / p_c is the smallest with probability p_c


class SequenceCrossEntropy(Loss):
    """l(z, t) = sum_s log sum_v exp(z_sv) - z_s,t_s over T positions s, for integer labels t [N, T] in 0..V-1.

    Outputs [N, T V]: the logits of the V symbols at the first position, at the second, ... p(t | z) is the product of
    the softmaxes, so that l = -log p and its Hessian is the Fisher matrix, as for the other losses here, which are sums
    over outputs too. The mean over positions that is common for language models is l / T; its gradients and curvature
    are l's divided by T, and its Fisher matrix would be the Hessian divided by T once more.

    symbols: V.
    """

    takes = "sequences"

    def __init__(self, symbols: int | None = None):
        self._symbols, self._position = symbols, CrossEntropy()

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        z, t = self._positions(outputs, targets)
        return self._position(z, t) * targets.shape[1]

    def hessian(self, outputs: Tensor, targets: Tensor) -> Tensor:
        z, t = self._positions(outputs, targets)
        return _block_diagonal(self._position.hessian(z, t).unflatten(0, targets.shape))

    def hessian_product(self, outputs: Tensor, targets: Tensor, v: Tensor) -> Tensor:
        z, t = self._positions(outputs, targets)
        by_position = v.unflatten(-1, (targets.shape[1], -1)).flatten(-3, -2)
        return self._position.hessian_product(z, t, by_position).view_as(v)

    def hessian_root(self, outputs: Tensor, targets: Tensor) -> Tensor:
        z, t = self._positions(outputs, targets)
        return _block_diagonal(self._position.hessian_root(z, t).unflatten(0, targets.shape))

    @torch.no_grad()
    def sample(self, outputs: Tensor, generator: Generator | None = None) -> Tensor:
        z = self._by_symbol(outputs)
        return self._position.sample(z.flatten(0, 1), generator).view(z.shape[:2])

    def _by_symbol(self, outputs: Tensor) -> Tensor:
        """Outputs [N, T V] as [N, T, V]."""
        if self._symbols is None:
            raise UsageError(
                "SequenceCrossEntropy() has no number of symbols; allowed: SequenceCrossEntropy(symbols=V)"
            )
        if outputs.dim() != 2 or outputs.shape[1] % self._symbols:
            got = list(outputs.shape)
            raise UsageError(f"SequenceCrossEntropy takes outputs [N, T V] with V = {self._symbols}, got outputs {got}")
        return outputs.unflatten(1, (-1, self._symbols))

    def _positions(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Outputs [N T, V] and labels [N T]."""
        z = self._by_symbol(outputs)
        return z.flatten(0, 1), _labels(self, outputs, targets, z.shape[:2]).flatten()


def _block_diagonal(blocks: Tensor) -> Tensor:
    """Matrices [N, T, V, V] as the diagonal blocks of one for each sample, [N, T V, T V]."""
    return torch.diag_embed(blocks.movedim(1, -1), dim1=1, dim2=3).flatten(3).flatten(1, 2)


class Separable(Loss):
    """A loss l(z, t) = sum_c l(z_c, t_c), whose Hessian in z is diagonal."""

    @abstractmethod
    def second_derivative(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """d^2 l(z_c, t_c) / dz_c^2 of every sample and output, [N, C]."""

    def hessian(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return torch.diag_embed(self.second_derivative(outputs, targets))

    def hessian_root(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return torch.diag_embed(self.second_derivative(outputs, targets).sqrt())

    def hessian_product(self, outputs: Tensor, targets: Tensor, v: Tensor) -> Tensor:
        return self.second_derivative(outputs, targets) * v


class BinaryCrossEntropy(Separable):
    """l(z, t) = sum_c log(1 + exp z_c) - t_c z_c, for targets t [N, C] in [0, 1]. p(t_c = 1 | z) = sigmoid(z_c)."""

    takes = "values"
    bounds = (0.0, 1.0)

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        targets = _values(self, outputs, targets)
        if not outputs.is_complex():
            return F.binary_cross_entropy_with_logits(outputs, targets, reduction="sum") / len(outputs)
        return (softplus(outputs, threshold=math.inf) - targets * outputs).sum() / len(outputs)

    def second_derivative(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return outputs.sigmoid() * (-outputs).sigmoid()

    @torch.no_grad()
    def sample(self, outputs: Tensor, generator: Generator | None = None) -> Tensor:
        return (torch.empty_like(outputs).uniform_(generator=generator) < outputs.sigmoid()).to(outputs.dtype)

    def predict(self, outputs: Tensor) -> Tensor:
        return outputs.sigmoid()


class SquaredError(Separable):
    """l(z, t) = 1/2 sum_c (z_c - t_c)^2, for targets t [N, C]. p(t | z) = N(z, I)."""

    takes = "values"

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        targets = _values(self, outputs, targets)
        if not outputs.is_complex():
            return F.mse_loss(outputs, targets, reduction="sum") / (2 * len(outputs))
        return (outputs - targets).square().sum() / (2 * len(outputs))

    def second_derivative(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return torch.ones_like(outputs)

    @torch.no_grad()
    def sample(self, outputs: Tensor, generator: Generator | None = None) -> Tensor:
        return outputs + torch.empty_like(outputs).normal_(generator=generator)


class SquaredHinge(Separable):
    """l(z, t) = sum_c max(0, 1 - s_c z_c)^2, s_c = 1 for c = t and -1 otherwise, for integer labels t [N] in 0..C-1.

    The second derivative jumps at the margin. There it is 0, as in autograd. There is no predictive distribution.
    """

    samples = False

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        slack = self._slack(outputs, targets)
        return torch.where(slack.real <= 0, 0, slack).square().sum() / len(outputs)

    def second_derivative(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return 2 * (self._slack(outputs, targets) > 0).to(outputs.dtype)

    def sample(self, outputs: Tensor, generator: Generator | None = None) -> Tensor:
        raise Unsupported("SquaredHinge has no predictive distribution: there are no labels to sample from it")

    def _slack(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """1 - s_c z_c, [N, C]."""
        targets = _labels(self, outputs, targets)
        try:
            sign = torch.full_like(outputs, -1.0).scatter(1, targets[:, None], 1.0)
        except (IndexError, RuntimeError) as error:
            raise _bad_label(self, outputs, error) from error
        return 1 - sign * outputs


def _labels(loss: Loss, outputs: Tensor, targets: Tensor, shape: torch.Size | None = None) -> Tensor:
    """The labels as int64. Raises UsageError unless they are integers of this shape; None: one per row of outputs."""
    dtype = targets.dtype
    integers = not (dtype.is_floating_point or dtype.is_complex or dtype is torch.bool)
    if outputs.dim() != 2 or targets.shape != (outputs.shape[:1] if shape is None else shape) or not integers:
        form = "integer labels [N]" if shape is None else "integer labels [N, T]"
        raise UsageError(_expected(loss, form, outputs, targets))
    return targets.to(torch.int64)


def _values(loss: Loss, outputs: Tensor, targets: Tensor) -> Tensor:
    """The targets in the real dtype of the outputs. Raises UsageError unless they are real, shaped as the outputs."""
    if outputs.dim() != 2 or targets.shape != outputs.shape or targets.is_complex():
        raise UsageError(_expected(loss, "real targets [N, C]", outputs, targets))
    return targets.to(outputs.dtype.to_real())


def _expected(loss: Loss, expected: str, outputs: Tensor, targets: Tensor) -> str:
    """The message about targets of a wrong shape or type."""
    got = f"outputs {list(outputs.shape)} and {str(targets.dtype).removeprefix('torch.')} targets {list(targets.shape)}"
    return f"{type(loss).__name__} takes outputs [N, C] and {expected}, got {got}"


def _bad_label(loss: Loss, outputs: Tensor, error: Exception) -> Exception:
    """A UsageError for a label out of range, else `error`. A CPU reports such a label; a GPU fails later instead."""
    if "out of bounds" not in str(error):
        return error
    return UsageError(
        f"{type(loss).__name__} of {outputs.shape[1]} outputs takes labels in 0..{outputs.shape[1] - 1}: {error}"
    )
