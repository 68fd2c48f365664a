"""A forward pass with its graph, and the products of its linearisation.

    Hessian       H v = d/dtheta (g . v)                        g with its graph, one backward pass per product
    Gauss-Newton  G v = J^T H_z (J v) / N                       J v is the derivative of u -> J^T u along u

Both are exact and need no finite difference (the second is a double backward pass). Both keep their graph: one
linearisation serves every product on its batch. No penalty is included.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, Protocol, cast

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge
from torch.nn.attention import SDPBackend, sdpa_kernel

from sobench.errors import Unsupported
from sobench.linalg.operator import LinearOperator
from sobench.objective.cost import Cost
from sobench.objective.graph import nodes
from sobench.objective.layers.records import unrecorded
from sobench.objective.normalizations import FORMS, SumsAndProducts
from sobench.objective.parameter_space import ParameterSpace
from sobench.objective.torch_private import weight_norm


class LossFunction(Protocol):
    """The mean loss of a batch as a function of the outputs z [N, C]: the interface of `sobench.losses.Loss`."""

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The mean loss, a scalar."""
        ...

    def hessian_product(self, outputs: Tensor, targets: Tensor, v: Tensor) -> Tensor:
        """H_n v_n of every sample, shaped as v [..., N, C], without the 1/N of the mean."""
        ...

    def hessian_root(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """R_n with R_n R_n^T = H_n for every sample, [N, C, C]."""
        ...

    def sample(self, outputs: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Targets drawn from the predictive distribution."""
        ...


def no_derivative(error: RuntimeError) -> Unsupported:
    """What to raise in place of torch's error about an operation without a derivative."""
    return Unsupported(f"no derivative of the outputs of the model: {str(error).splitlines()[0]}")


@contextmanager
def differentiating() -> Generator[None]:
    """A context in which an error of torch, but for one of the device, becomes that of `no_derivative`."""
    try:
        yield
    except (torch.OutOfMemoryError, torch.AcceleratorError):
        raise
    except RuntimeError as error:
        raise no_derivative(error) from error


def is_fused(outputs: Tensor) -> bool:
    """Whether a pass went through a kernel that `unfused` replaces."""
    return any(node.name().startswith(("ScaledDotProduct", "WeightNormInterface")) for node in nodes([outputs]))


@contextmanager
def unfused() -> Generator[None]:
    """A context for passes that are differentiated twice, without the fused kernels of attention and weight_norm.

    Those of attention have no second derivative, that of weight_norm has a wrong one.
    """
    with sdpa_kernel(SDPBackend.MATH), SumsAndProducts({weight_norm: FORMS[weight_norm]}):
        yield


class ForwardPass:
    """The outputs z [N, C] and the mean loss of one batch as functions of `parameters`, with their graph.

    Every method counts its work in `cost`. Each raises Unsupported where torch has no derivative of an operation.
    """

    def __init__(
        self, space: ParameterSpace, loss: LossFunction, outputs: Tensor, parameters: tuple[Tensor, ...], cost: Cost
    ):
        self.space, self.loss_function, self.cost = space, loss, cost
        self.outputs, self.parameters = outputs, parameters
        self.samples = len(outputs)

    def gradient(self, targets: Tensor, create_graph: bool = False) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The mean loss, a scalar, and its gradient, one tensor per parameter: one backward pass.

        Hooks of `record()` observe this pass. create_graph: whether the gradient has a graph.
        """
        with torch.enable_grad():
            loss = self.loss_function(self.outputs, targets)
        grads = self._vjp(loss, None, create_graph=create_graph, recorded=True)
        self.cost.backward(self.samples)
        return loss.detach(), grads

    def propagate(
        self, targets: Tensor, edges: list[GradientEdge], parameters: Sequence[Tensor] = ()
    ) -> tuple[Tensor, tuple[Tensor | None, ...]]:
        """The mean loss, a scalar, and its gradients in `parameters`, None for an unused one: half a backward pass.

        The pass ends at these edges of the graph, where the hooks of `record()` observe it, and at `parameters`.
        """
        with torch.enable_grad():
            loss = self.loss_function(self.outputs, targets)
        # torch takes edges and tensors together, which its annotation does not say
        ends: list[Any] = [*edges, *parameters]
        grads = torch.autograd.grad(loss, ends, retain_graph=True, allow_unused=True)
        self.cost.propagation(self.samples)
        return loss.detach(), grads[len(edges) :]

    def propagate_roots(self, targets: Tensor, edges: list[GradientEdge]) -> tuple[Tensor | None, ...]:
        """The columns of R_n pulled back to these edges, [C, N, ...] each. R_n R_n^T is the Hessian for sample n.

        Costs half a backward pass for each of the C columns.
        """
        cotangents = self.loss_function.hessian_root(self.outputs.detach(), targets).permute(2, 0, 1)
        with torch.enable_grad(), unrecorded():
            roots = torch.autograd.grad(
                self.outputs, edges, cotangents, retain_graph=True, is_grads_batched=True, allow_unused=True
            )
        self.cost.propagation(self.samples, columns=len(cotangents))
        return roots

    def hessian(self, grads: tuple[Tensor, ...]) -> LinearOperator:
        """The Hessian [P, P] of the mean loss, from its gradient with a graph, one tensor per parameter."""

        def matvec(v: Tensor) -> Tensor:
            self.cost.product(self.samples)
            return self.space.flatten(self._vjp(grads, self.space.unflatten(v)))

        def matmat(V: Tensor) -> Tensor:
            self.cost.product(self.samples, columns=V.shape[1])
            return self.space.flatten_batch(self._vjp(grads, self.space.unflatten(V.T), batched=True)).T

        return self._operator(matvec, matmat)

    def ggn(self, targets: Tensor) -> LinearOperator:
        """The generalised Gauss-Newton matrix [P, P] of the mean loss. Its linearisation costs one backward pass."""
        z = self.outputs
        if z.dim() < 2:
            raise Unsupported(f"the Gauss-Newton matrix takes outputs [N, C], the model returns {list(z.shape)}")
        u, JTu = self.linearised()
        self.cost.backward(self.samples)

        def product(V: tuple[Tensor, ...], batched: bool) -> tuple[Tensor, ...]:
            JV = self.push_forward(u, JTu, V, batched)
            HJV = self.loss_function.hessian_product(z.detach(), targets, JV) / self.samples
            return self._vjp(z, HJV, batched=batched)

        def matvec(v: Tensor) -> Tensor:
            self.cost.product(self.samples)
            return self.space.flatten(product(self.space.unflatten(v), batched=False))

        def matmat(V: Tensor) -> Tensor:
            self.cost.product(self.samples, columns=V.shape[1])
            return self.space.flatten_batch(product(self.space.unflatten(V.T), batched=True)).T

        return self._operator(matvec, matmat)

    def linearised(self) -> tuple[Tensor, tuple[Tensor, ...]]:
        """u [N, C], and J^T u with its graph, one tensor per parameter. Not metered."""
        u = torch.zeros_like(self.outputs, requires_grad=True)
        return u, self._vjp(self.outputs, u, create_graph=True)

    def push_forward(self, u: Tensor, JTu: tuple[Tensor, ...], V: tuple[Tensor, ...], batched: bool = False) -> Tensor:
        """J v [N, C], or J V [K, N, C] if `batched`, from what `linearised` returns. Not metered."""
        return self._vjp(JTu, V, wrt=(u,), batched=batched)[0]

    def pull_back(self, cotangents: Tensor) -> Tensor:
        """J^T u [K, P] for cotangents u [K, N, C]: a backward pass for each."""
        self.cost.backward(self.samples, scale=len(cotangents))
        return self.space.flatten_batch(self._vjp(self.outputs, cotangents, batched=True))

    def _vjp(
        self,
        outputs: Tensor | tuple[Tensor, ...],
        cotangents: Tensor | tuple[Tensor, ...] | None,
        *,
        wrt: tuple[Tensor, ...] | None = None,
        batched: bool = False,
        create_graph: bool = False,
        recorded: bool = False,
    ) -> tuple[Tensor, ...]:
        """The vector-Jacobian product of `outputs` with `cotangents`, one tensor for each of `wrt` (the parameters).

        Keeps the graph. The result is zero for a tensor that the outputs do not use. batched: whether cotangents and
        result have a leading dimension K. recorded: whether hooks of `record()` observe the pass.
        """
        wrt = self.parameters if wrt is None else wrt
        if self.space.mixed and isinstance(outputs, tuple) and isinstance(cotangents, tuple):
            cotangents = tuple(v.to(y.dtype) for v, y in zip(cotangents, outputs))
        try:
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
        except (torch.OutOfMemoryError, torch.AcceleratorError):
            raise
        except RuntimeError as error:
            if batched:  # an operation that takes no batch of cotangents
                return self._vjp_by_rows(outputs, cotangents, wrt)
            raise no_derivative(error) from error
        used = cast(
            "tuple[Tensor | None, ...]", grads
        )  # allow_unused gives None, which torch's annotation does not say
        if not any(g is None for g in used):
            return grads
        first = cotangents[0] if isinstance(cotangents, tuple) else cotangents
        lead = first.shape[:1] if batched and first is not None else ()
        zeros = [p.new_zeros((*lead, *p.shape), requires_grad=create_graph) for p in wrt]
        return tuple(zero if g is None else g for g, zero in zip(used, zeros))

    def _vjp_by_rows(
        self,
        outputs: Tensor | tuple[Tensor, ...],
        cotangents: Tensor | tuple[Tensor, ...] | None,
        wrt: tuple[Tensor, ...],
    ) -> tuple[Tensor, ...]:
        """`_vjp` of batched cotangents, one after the other."""
        columns = zip(*cotangents) if isinstance(cotangents, tuple) else cotangents if cotangents is not None else ()
        rows = [self._vjp(outputs, column, wrt=wrt) for column in columns]
        return tuple(torch.stack(parts) for parts in zip(*rows))

    def _operator(self, matvec: Callable[[Tensor], Tensor], matmat: Callable[[Tensor], Tensor]) -> LinearOperator:
        space = self.space
        return LinearOperator(matvec, space.size, matmat=matmat, dtype=space.dtype, device=self.outputs.device)
