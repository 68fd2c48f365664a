"""One forward pass with its graph, and the products that its linearisation gives.

    Hessian       H v = d/dtheta (g . v)                        g with its graph, one backward pass a product
    Gauss-Newton  G v = J^T H_z (J v) / N                       J v is the derivative of u -> J^T u along u (double backward)

Both are exact, need no finite difference, and keep their graph: one linearisation serves every product on its batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Protocol

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge

from sobench.linalg.operator import LinearOperator
from sobench.objective.cost import Cost
from sobench.objective.layers.records import unrecorded
from sobench.objective.parameter_space import ParameterSpace


class LossFunction(Protocol):
    """The mean loss of a batch as a function of the outputs z [N, C]; `sobench.losses` has them."""

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor: ...

    def hessian_product(self, outputs: Tensor, targets: Tensor, v: Tensor) -> Tensor: ...

    def hessian_root(self, outputs: Tensor, targets: Tensor) -> Tensor: ...

    def sample(self, outputs: Tensor, generator: torch.Generator | None = None) -> Tensor: ...


class ForwardPass:
    """outputs z [N, C] and the mean loss of one batch as functions of `parameters`, with their graph."""

    def __init__(
        self, space: ParameterSpace, loss: LossFunction, outputs: Tensor, parameters: tuple[Tensor, ...], cost: Cost
    ):
        self.space, self.loss_function, self.outputs, self.parameters, self.cost = (
            space,
            loss,
            outputs,
            parameters,
            cost,
        )
        self.samples = len(outputs)

    def gradient(self, targets: Tensor, create_graph: bool = False) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The mean loss, a scalar, and its gradient, one tensor per parameter."""
        with torch.enable_grad():
            loss = self.loss_function(self.outputs, targets)
        grads = self._vjp(loss, None, create_graph=create_graph, recorded=True)
        self.cost.backward(self.samples)
        return loss.detach(), grads

    def propagate(
        self, targets: Tensor, edges: list[GradientEdge], parameters: Sequence[Tensor] = ()
    ) -> tuple[Tensor, tuple[Tensor | None, ...]]:
        """The mean loss, a scalar; its gradient goes as far back as these places in the graph, where hooks see it, and to
        these parameters, whose gradients are returned."""
        with torch.enable_grad():
            loss = self.loss_function(self.outputs, targets)
        grads = torch.autograd.grad(loss, [*edges, *parameters], retain_graph=True, allow_unused=True)
        self.cost.propagation(self.samples)
        return loss.detach(), grads[len(edges) :]

    def propagate_roots(self, targets: Tensor, edges: list[GradientEdge]) -> tuple[Tensor | None, ...]:
        """The columns of R_n, R_n R_n^T the loss's Hessian of sample n, pulled back to these places: [C, N, ...] each."""
        cotangents = self.loss_function.hessian_root(self.outputs.detach(), targets).permute(2, 0, 1)
        with torch.enable_grad(), unrecorded():
            roots = torch.autograd.grad(
                self.outputs, edges, cotangents, retain_graph=True, is_grads_batched=True, allow_unused=True
            )
        self.cost.propagation(self.samples, columns=len(cotangents))
        return roots

    def hessian(self, grads: tuple[Tensor, ...]) -> LinearOperator:
        """The Hessian of the mean loss, given the gradient with its graph."""

        def matvec(v: Tensor) -> Tensor:
            self.cost.product(self.samples)
            return self.space.flatten(self._vjp(grads, self.space.unflatten(v)))

        def matmat(V: Tensor) -> Tensor:
            self.cost.product(self.samples, columns=V.shape[1])
            return self.space.flatten_batch(self._vjp(grads, self.space.unflatten(V.T), batched=True)).T

        return self._operator(matvec, matmat)

    def ggn(self, targets: Tensor) -> LinearOperator:
        """The generalised Gauss-Newton matrix of the mean loss."""
        z = self.outputs
        u = torch.zeros_like(z, requires_grad=True)
        JTu = self._vjp(z, u, create_graph=True)
        self.cost.backward(self.samples)

        def product(V: tuple[Tensor, ...], batched: bool) -> tuple[Tensor, ...]:
            (JV,) = self._vjp(JTu, V, wrt=(u,), batched=batched)
            HJV = self.loss_function.hessian_product(z.detach(), targets, JV) / self.samples
            return self._vjp(z, HJV, batched=batched)

        def matvec(v: Tensor) -> Tensor:
            self.cost.product(self.samples)
            return self.space.flatten(product(self.space.unflatten(v), batched=False))

        def matmat(V: Tensor) -> Tensor:
            self.cost.product(self.samples, columns=V.shape[1])
            return self.space.flatten_batch(product(self.space.unflatten(V.T), batched=True)).T

        return self._operator(matvec, matmat)

    def pull_back(self, cotangents: Tensor) -> Tensor:
        """J^T u for a batch of cotangents u [K, N, C]: [K, P], each a whole backward pass."""
        self.cost.backward(self.samples, scale=len(cotangents))
        return self.space.flatten_batch(self._vjp(self.outputs, cotangents, batched=True))

    def _vjp(
        self, outputs, cotangents, *, wrt=None, batched=False, create_graph=False, recorded=False
    ) -> tuple[Tensor, ...]:
        wrt = self.parameters if wrt is None else wrt
        with torch.enable_grad(), nullcontext() if recorded else unrecorded():
            grads = torch.autograd.grad(
                outputs,
                wrt,
                cotangents,
                retain_graph=True,
                create_graph=create_graph,
                is_grads_batched=batched,
                allow_unused=True,
            )
        if not any(g is None for g in grads):
            return grads
        lead = (len(cotangents if isinstance(cotangents, Tensor) else cotangents[0]),) if batched else ()
        zeros = [p.new_zeros(lead + p.shape, requires_grad=create_graph) for p in wrt]  # what the outputs do not use
        return tuple(zero if g is None else g for g, zero in zip(grads, zeros))

    def _operator(self, matvec, matmat) -> LinearOperator:
        z = self.outputs
        return LinearOperator(matvec, self.space.size, matmat=matmat, dtype=z.dtype, device=z.device)
