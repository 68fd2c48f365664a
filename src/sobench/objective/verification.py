"""Comparisons that are made once for a model: two ways to one number that do not share a mistake.

    elsewhere            outputs at other parameters     the model with these parameters written into it
    elsewhere_gradient   gradients there                 likewise
    hessian              w . (H v)                       v . (H w); differences of the gradient, if it has Python code
    jacobian             w . (J v)                       (J^T w) . v
    complex_loss         Im f(theta + ihv) / h           g . v
    complex_gradient     Im g(theta + ihv) / h           H v
    curvature            v'Hv by dual numbers            v . (H v)
    series               phi_st, phi_sss by a series     the same by products

A model may contain what a pass does not follow: a `torch.autograd.Function`, compiled code, a reference to a parameter.
The first call of an oracle compares, by passes that are not metered, and raises Unsupported if the numbers differ. What
a comparison has shown holds for every objective of the model in the same mode, so that later calls cost nothing more.
Only `series` takes all samples of the batch; 32 of them show what the others do.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import Concatenate, ParamSpec, Protocol

import torch
from torch import Tensor
from torch.autograd.function import BackwardCFunction

from sobench.errors import Unsupported
from sobench.linalg import complex_step
from sobench.linalg.complex_step import STEP
from sobench.linalg.operator import LinearOperator
from sobench.objective import taylor_oracles
from sobench.objective.cost import Cost
from sobench.objective.forward_pass import ForwardPass, LossFunction
from sobench.objective.graph import coarsest_eps, nodes, probe
from sobench.objective.layers.records import unrecorded
from sobench.objective.network import Network
from sobench.objective.parameter_space import ParameterSpace
from sobench.objective.taylor.partition import Partition
from sobench.objective.taylor_oracles import Summary

P = ParamSpec("P")

HALF = 1e-6
"""An eps above which a precision has too few digits for differences."""


ROUNDING = 10.0
"""The rounding error of two different passes, in changes of the result that a change of the last digit makes."""


class Oracles(Protocol):
    """The part of an `Objective` that comparisons use."""

    network: Network
    space: ParameterSpace
    loss_function: LossFunction
    cost: Cost

    @property
    def batch(self) -> tuple[Tensor, Tensor]: ...
    def unmetered(self, whole: bool = False) -> Oracles: ...
    def outputs_at(self, parameters: tuple[Tensor, ...] | None) -> Tensor: ...
    def with_graph(self, outputs: Tensor) -> Tensor: ...
    def pass_at(self, at: Tensor | None) -> ForwardPass: ...
    def loss(self, at: Tensor | None = None) -> Tensor: ...
    def value_and_grad(self, at: Tensor | None = None) -> tuple[Tensor, Tensor]: ...
    def hessian(self, at: Tensor | None = None) -> LinearOperator: ...
    def curvature(self, p: Tensor, h: float = STEP, at: Tensor | None = None) -> Tensor: ...


def once(comparison: Callable[Concatenate[Oracles, P], bool]) -> Callable[Concatenate[Oracles, P], None]:
    """`comparison`, made only until it has shown something of a model in its mode, on an objective that is not metered.

    It returns whether it has: numbers that are not finite show nothing. Oracles that it calls do not make it again.
    """
    name = comparison.__name__

    @wraps(comparison)
    def compare(f: Oracles, *args: P.args, **kwargs: P.kwargs) -> None:
        if f.network.known(name) is not None:
            return
        f.network.learn(name, True)
        shown = False
        try:
            with unrecorded():
                shown = comparison(f.unmetered(), *args, **kwargs)
        finally:
            if not shown:
                f.network.forget(name)

    return compare


@once
def elsewhere(f: Oracles, at: Tensor | None) -> bool:
    """Compare the outputs at `at` [P] with those of the model with `at` written into it."""
    theta = _other_than_own(f, at)
    parts = f.space.unflatten(theta.clone())
    outputs = f.outputs_at(parts)
    if not torch.equal(f.space.flatten(parts).nan_to_num(), theta.nan_to_num()):
        model = type(f.network.model).__name__
        raise Unsupported(f"a forward pass of {model} writes its parameters; allowed: embeddings without max_norm")
    with _written(f, parts):
        expected = f.outputs_at(None)
    return _agree(f, outputs, expected, "its outputs at other parameters than its own are not right")


@once
def elsewhere_gradient(f: Oracles, at: Tensor | None) -> bool:
    """Compare a gradient of the outputs at `at` [P] with that of the model with `at` written into it."""
    elsewhere(f, at)
    parts = tuple(p.detach().clone().requires_grad_() for p in f.space.unflatten(_other_than_own(f, at)))
    with torch.enable_grad():
        outputs = f.with_graph(f.outputs_at(parts))
    w = probe(outputs)
    grads = ForwardPass(f.space, f.loss_function, outputs, parts, f.cost).pull_back(w[None])[0]
    with _written(f, parts), torch.enable_grad():
        outputs = f.outputs_at(None)
        expected = ForwardPass(f.space, f.loss_function, outputs, f.space.parameters, f.cost).pull_back(w[None])[0]
    return _agree(f, grads, expected, "its gradients at other parameters than its own are not right")


def _other_than_own(f: Oracles, at: Tensor | None) -> Tensor:
    """`at` [P], or a point near the parameters of the model, where nothing would be seen."""
    theta = f.space.get()
    if at is not None and not torch.equal(at, theta):
        return at.detach()
    return theta + 0.03 * (1 + theta.abs()) * probe(theta)


@contextmanager
def _written(f: Oracles, parts: Sequence[Tensor]) -> Generator[None]:
    """A context in which the parameters of the model have other values. A kept pass does not notice."""
    own = [p.data for p in f.space.parameters]
    try:
        for p, value in zip(f.space.parameters, parts):
            p.data = value.detach().to(p.dtype)
        yield
    finally:
        for p, value in zip(f.space.parameters, own):
            p.data = value


def _agree(f: Oracles, actual: Tensor, expected: Tensor, mistake: str) -> bool:
    """Whether two tensors are equal up to rounding. False if not finite; raises Unsupported if they differ."""
    if not bool(actual.isfinite().all() and expected.isfinite().all()):
        return False
    error, size = (actual - expected).norm(), expected.norm()
    if bool(error > f.network.eps**0.5 * size + torch.finfo(expected.dtype).tiny ** 0.5):
        raise Unsupported(
            f"{type(f.network.model).__name__}: {mistake}; allowed: modules that read their parameters by attribute, "
            "in the forward pass alone (no activation checkpointing, no references to parameters)"
        )
    return True


@once
def hessian(f: Oracles, at: Tensor | None) -> bool:
    """Look for a backward pass that torch does not differentiate, in the gradient at `at` [P]."""
    forward = f.pass_at(at)
    grads = forward.gradient(f.batch[1], create_graph=True)[1]
    if _is_differentiable_once(grads):
        raise Unsupported(_no_hessian(f, "a backward pass is marked once_differentiable"))
    if any(isinstance(node, BackwardCFunction) for node in nodes(grads)):
        _compare_with_differences(f, forward, grads, _theta(f, at))
        return True
    H = forward.hessian(grads)
    v = probe(f.space.get())
    w = v.flip(0)
    Hv, Hw = H @ v, H @ w
    if not bool(Hv.isfinite().all() and Hw.isfinite().all()):
        return False
    if bool((w @ Hv - v @ Hw).abs() > coarsest_eps(grads) ** 0.5 * v.norm() * (Hv.norm() + Hw.norm())):
        raise Unsupported(_no_hessian(f, "those of torch are wrong: its Hessian is not symmetric"))
    return True


@once
def jacobian(f: Oracles, at: Tensor | None) -> bool:
    """Compare w . (J v) with (J^T w) . v at `at` [P]."""
    forward = f.pass_at(at)
    w = probe(forward.outputs)
    u, JTu = forward.linearised()
    if _is_differentiable_once(JTu):
        raise Unsupported(_no_hessian(f, "a backward pass is marked once_differentiable"))
    JTw = forward.pull_back(w[None])[0]
    Jv = forward.push_forward(u, JTu, f.space.unflatten(JTw))
    actual, expected = (w * Jv).sum(), JTw.square().sum()  # dot() of ten million numbers has three digits on a CPU
    if not bool(actual.isfinite() and expected.isfinite()):
        return False
    if bool((actual - expected).abs() > coarsest_eps(JTu) ** 0.5 * expected):
        raise Unsupported(_no_hessian(f, "products with the Jacobian of the outputs are wrong"))
    return True


def _no_hessian(f: Oracles, reason: str) -> str:
    return (
        f"no second derivatives of {type(f.network.model).__name__}: {reason}; allowed: a torch.autograd.Function "
        "whose backward consists of functions of torch, without detach() and numpy"
    )


def _is_differentiable_once(grads: Sequence[Tensor]) -> bool:
    """Whether the graph of a gradient ends in the node that stands for a missing derivative.

    torch raises its error in a backward pass through the node, but does not go there for the sake of other leaves.
    """
    return any(node.name() == "torch::autograd::Error" for node in nodes(grads))


def _compare_with_differences(f: Oracles, forward: ForwardPass, grads: tuple[Tensor, ...], theta: Tensor) -> None:
    """Raise Unsupported if Hessian products are not differences of the gradient, where these have converged.

    Nothing is said if the gradient itself is none of the loss: a straight-through estimator is meant so.
    """
    g = f.space.flatten([part.detach() for part in grads])
    eps = coarsest_eps(grads)
    if eps > HALF or not bool(g.isfinite().all()):
        return
    v = _unit(_unit(g) + _unit(probe(g)))
    Hv, tolerance = forward.hessian(grads) @ v, eps**0.25
    slopes: list[Tensor] = []
    for step in (eps ** (1 / 3) * (1 + theta.norm()), eps ** (1 / 3) * (1 + theta.norm()) / 4):
        try:
            (up, g_up), (down, g_down) = (f.value_and_grad(theta + sign * step * v) for sign in (1, -1))
        except Unsupported:  # there are no passes elsewhere
            return
        if not bool(((up - down) / (2 * step) - g @ v).abs() <= tolerance * g.norm()):
            return
        slopes.append((g_up - g_down) / (2 * step))
    size = slopes[1].norm()
    converged = (slopes[0] - slopes[1]).norm() <= tolerance * size
    if bool(converged) and bool((Hv - slopes[1]).norm() > 10 * tolerance * size):
        raise Unsupported(_no_hessian(f, "its Hessian products are not differences of its gradient"))


@once
def complex_loss(f: Oracles, at: Tensor) -> bool:
    """Compare the slope of the loss at Re `at` [P] by a complex step with that of its gradient."""
    theta = at.real.to(f.space.dtype, copy=True)
    g = f.value_and_grad(theta)[1]
    v = _unit(_unit(g) + _unit(probe(g)))
    slope = f.loss(complex_step.shifted(theta, v, STEP)).imag / STEP
    return _is_analytic(f, slope, g @ v, g.norm(), lambda at: f.value_and_grad(at)[1] @ v, theta)


@once
def complex_gradient(f: Oracles, at: Tensor) -> bool:
    """Compare a Hessian product at Re `at` [P] by a complex step with that by double backward."""
    theta = at.real.to(f.space.dtype, copy=True)
    v = _unit(probe(theta))
    Hv = f.hessian(theta) @ v
    gradient = f.value_and_grad(complex_step.shifted(theta, v, STEP))[1]
    return _is_analytic(f, gradient.imag / STEP, Hv, Hv.norm(), lambda at: f.hessian(at) @ v, theta)


@once
def curvature(f: Oracles, at: Tensor | None) -> bool:
    """Compare v'Hv at `at` [P] by dual numbers with that by double backward."""
    theta = _theta(f, at)
    H = f.hessian(theta)
    r = probe(theta)
    v = _unit(_unit(H @ r) + _unit(r))
    Hv = H @ v
    curvature_of_v = f.curvature(v, at=theta)
    return _is_analytic(f, curvature_of_v, v @ Hv, Hv.norm(), lambda at: v @ (f.hessian(at) @ v), theta)


def _is_analytic(
    f: Oracles, actual: Tensor, expected: Tensor, size: Tensor, real: Callable[[Tensor], Tensor], theta: Tensor
) -> bool:
    """Whether a complex step gave what the real passes `real` give at theta, up to rounding.

    size: what the error is relative to. False if not finite; raises Unsupported if they differ. A deep network in
    single precision has rounding errors far above sqrt(eps): the error may be as large as ROUNDING times what a change
    of theta by its last digit makes of the real passes.
    """
    if not bool(actual.isfinite().all() and expected.isfinite().all()):
        return False
    error = (actual - expected).norm()
    allowed = f.network.eps**0.5 * size + torch.finfo(expected.dtype).tiny ** 0.5
    if bool(error > allowed) and bool(error > ROUNDING * _rounding_error(f, real, theta, expected)):
        raise Unsupported(
            f"no complex pass through {type(f.network.model).__name__}: its imaginary part is not the derivative of "
            f"its real part (relative error {float(error / size):.1e}); allowed: functions of torch with a complex "
            "form, outside torch.autograd.Function, activation checkpointing and torch.no_grad()"
        )
    return True


def _rounding_error(f: Oracles, real: Callable[[Tensor], Tensor], theta: Tensor, expected: Tensor) -> Tensor:
    """The change of a number if each parameter changes by a relative eps; at most a hundredth of the number.

    A larger one would hide a wrong derivative.
    """
    last_digit = f.network.eps * probe(theta).sign()
    change = (real(theta * (1 + last_digit)) - expected).norm()
    return change.clamp(max=0.01 * float(expected.norm()))


def series_is_right(f: Oracles, summary: Summary, theta: Tensor, u: Tensor, partition: Partition) -> bool:
    """Whether a summary without the penalty is that by products: its second derivatives, and the third of a group.

    The bounds are wide, because terms cancel: an operation that is left out is wrong in the first digit.
    """
    f = f.unmetered(whole=True)
    with unrecorded():
        rows = partition.sums(u * (f.hessian(theta) @ u))
        first_group = torch.where(partition.labels == 0, u, 0)
        everything = Partition(f.space, ("all",), (0,) * len(f.space.names))
        alone = taylor_oracles.by_products(
            f.outputs_at, f.loss_function, f.batch[1], f.space, theta, first_group, everything
        )
    if not all(bool(part.isfinite().all()) for part in (rows, *alone)):
        return True
    second, third = (summary.second.sum(1) - rows).norm(), (summary.third[0] - alone.third[0]).abs()
    size = alone.first[0].abs() + alone.second[0, 0].abs() + 100 * alone.third[0].abs()
    wide = max(1e-2, 10 * torch.finfo(u.dtype).eps)
    return bool(second <= wide * summary.second.norm()) and bool(third <= wide * size)


def _theta(f: Oracles, at: Tensor | None) -> Tensor:
    """`at` [P], or the parameters of the model."""
    return f.space.get() if at is None else at.detach()


def _unit(v: Tensor) -> Tensor:
    """v / ||v||; 0 for 0."""
    return v / v.norm().clamp(min=torch.finfo(v.dtype).tiny)
