"""Taylor-mode rules of torch's functions: the terms that each adds to the series, and the jet of its output.

See `taylor.series` for the notation. Linear and convolution are bilinear in (x, W): F'' [(x', U), (x', U)] = 2 U x',
and F''' is zero. An activation acts elementwise, with derivatives s1, s2, s3. Pooling and reshaping are linear and add
nothing. Max pooling is linear as long as no two pixels change their order, ReLU and ELU as long as no number changes
its sign.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from sobench.objective.taylor.series import Jet, Rules, Series

Derivatives = tuple[Tensor, Tensor | None, Tensor | None]
"""s1, s2 and s3 of an elementwise function, shaped as x; None for zero."""


def bilinear(
    series: Series, apply: Callable[[Tensor, Tensor], Tensor], w: Tensor, x: Tensor, W: Tensor, bias: Tensor | None
) -> Jet:
    """The rule of y = apply(x, W) + bias; the bias [O] is along the outputs, [N, O, 1, ...] or [..., O]."""
    jet = series.jets.get(id(x))
    out = None if jet is None else jet.through(lambda part: apply(part, W))
    if id(W) in series.moves:
        group, U = series.moves[id(W)]
        first, pull_back = torch.func.vjp(lambda part: apply(part, U), x.detach())[:2]
        second = None
        if jet is not None:
            Uw = pull_back(w)[0]
            first_terms, second_terms = ((Uw * part).flatten(1).sum(1) for part in (jet.first, jet.second))
            _add_weight(series, jet, group, first_terms, second_terms)
            second = None if (i := jet.position(group)) is None else 2 * apply(jet.first[i], U)
        out = _plus(out, group, first, second)
    if bias is not None and id(bias) in series.moves:
        group, v = series.moves[id(bias)]
        shaped = v.view([-1] + [1] * (W.dim() - 2))  # the outputs of a convolution come before its spatial dimensions
        out = _plus(out, group, shaped.expand_as(w), None)
    if out is None:
        raise ValueError("the rule of an operation takes an argument that depends on the parameters")
    return out


def _add_weight(series: Series, jet: Jet, group: int, first_terms: Tensor, second_terms: Tensor) -> None:
    """Add F''[x'_s, U] for every direction s of the jet of x, and 3 F''[U, x''] for the group of the weight.

    first_terms, second_terms: w . U x' [K] and w . U x'' [K].
    """
    for i, s in enumerate(jet.groups):
        series.hessian[s, group] += first_terms[i]
        series.hessian[group, s] += first_terms[i]
        if s == group:
            series.third[s] += 3 * second_terms[i]


def _plus(jet: Jet | None, group: int, first: Tensor, second: Tensor | None) -> Jet:
    """A jet (None: zero) plus derivatives in the direction of one group, which may be new. Writes into the jet."""
    first = first.detach()
    if jet is None:
        return Jet((group,), first[None], torch.zeros_like(first)[None])
    if (i := jet.position(group)) is None:
        return Jet(
            (*jet.groups, group),
            torch.cat([jet.first, first[None]]),
            torch.cat([jet.second, torch.zeros_like(first)[None]]),
        )
    jet.first[i] += first
    if second is not None:
        jet.second[i] += second
    return jet


def linear(series: Series, w: Tensor, y: Tensor, input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Jet:
    """The rule of F.linear."""
    return bilinear(series, F.linear, w, input, weight, bias)


def conv2d(
    series: Series,
    w: Tensor,
    y: Tensor,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Jet:
    """The rule of F.conv2d."""

    def apply(x: Tensor, W: Tensor) -> Tensor:
        return F.conv2d(x, W, None, stride, padding, dilation, groups)

    return bilinear(series, apply, w, input, weight, bias)


def elementwise(derivatives: Callable[..., Derivatives]) -> Callable[..., Jet]:
    """The rule of an elementwise y = s(x), from (s1, s2, s3) = derivatives(x, y, *args), with None for zero."""

    def rule(series: Series, w: Tensor, y: Tensor, x: Tensor, *args: Any, **options: Any) -> Jet:
        s1, s2, s3 = derivatives(x.detach(), y.detach(), *args, **options)
        jet = series.jet(x)
        first, second = jet.first, s1 * jet.second
        if s2 is not None:
            ws2_first = (w * s2) * first
            squares = first * first
            hessian = ws2_first.flatten(1) @ first.flatten(1).T
            third = (ws2_first * jet.second).flatten(1).sum(1) * 3
            if s3 is not None:
                third = third + ((w * s3) * first * squares).flatten(1).sum(1)
            series.add(jet.groups, hessian, third)
            second = second + s2 * squares
        return Jet(jet.groups, s1 * first, second)

    return rule


def structural(function: Callable[..., Tensor]) -> Callable[..., Jet]:
    """The rule of a function that is linear in x, sample by sample."""

    def rule(series: Series, w: Tensor, y: Tensor, x: Tensor, *args: Any, **options: Any) -> Jet:
        return series.jet(x).through(lambda part: function(part, *args, **options))

    return rule


def max_pool2d(series: Series, w: Tensor, y: Tensor, x: Tensor, *args: Any, **options: Any) -> Jet:
    """The rule of F.max_pool2d."""
    _, indices = F.max_pool2d(x.detach(), *args, **options | {"return_indices": True})
    flat = indices.flatten(2)

    def gather(part: Tensor) -> Tensor:
        times = len(part) // len(x)
        return part.flatten(2).gather(2, flat.repeat(times, 1, 1)).view(-1, *indices.shape[1:])

    return series.jet(x).through(gather)


def _tanh(x: Tensor, y: Tensor) -> Derivatives:
    s1 = 1 - y * y
    return s1, -2 * y * s1, s1 * (6 * y * y - 2)


def _sigmoid(x: Tensor, y: Tensor) -> Derivatives:
    s1 = y * (1 - y)
    return s1, s1 * (1 - 2 * y), s1 * (1 - 6 * s1)


def _relu(x: Tensor, y: Tensor, inplace: bool = False) -> Derivatives:
    return (y > 0).to(x.dtype), None, None


def _elu(x: Tensor, y: Tensor, alpha: float = 1.0, inplace: bool = False) -> Derivatives:
    e = torch.where(x > 0, 0, y + alpha)  # alpha exp(x), which equals its derivatives
    return torch.where(x > 0, 1, e), e, e


def _softplus(x: Tensor, y: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Derivatives:
    p, linear = (beta * x).sigmoid(), beta * x > threshold
    s2 = torch.where(linear, 0, beta * p * (1 - p))
    return torch.where(linear, 1, p), s2, beta * s2 * (1 - 2 * p)


def _sin(x: Tensor, y: Tensor) -> Derivatives:
    return x.cos(), -y, -x.cos()


RULES: Rules = {
    F.linear: linear,
    F.conv2d: conv2d,
    torch.conv2d: conv2d,
    **{function: elementwise(_tanh) for function in (torch.tanh, F.tanh, torch.Tensor.tanh)},
    **{function: elementwise(_sigmoid) for function in (torch.sigmoid, F.sigmoid, torch.Tensor.sigmoid)},
    **{function: elementwise(_relu) for function in (F.relu, torch.relu, torch.Tensor.relu)},
    **{function: elementwise(_sin) for function in (torch.sin, torch.Tensor.sin)},
    F.elu: elementwise(_elu),
    F.softplus: elementwise(_softplus),
    **{
        function: structural(function)
        for function in (torch.flatten, torch.Tensor.flatten, F.avg_pool2d, F.adaptive_avg_pool2d)
    },
    **dict.fromkeys((F.max_pool2d, torch.max_pool2d), max_pool2d),
}
"""torch's function, in each form in which it is called -> its rule(series, w, y, *arguments).

w is the gradient of the loss at y. A rule returns the jet of y.
"""
