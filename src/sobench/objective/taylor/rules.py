"""The Taylor series of torch's functions: what each adds to the derivatives of the loss, and the jet of its output (sobench.objective.taylor.series).

Linear and convolution are bilinear in (x, W): F'' [(x', U), (x', U)] = 2 U x', and there is no F'''. An activation acts number
by number, with derivatives s1, s2, s3. Pooling and reshaping are linear: nothing is added. Max pooling is so as long as no two
pixels change places, ReLU and ELU as long as no number changes its sign.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from sobench.objective.taylor.series import Jet, Series


def bilinear(
    series: Series, apply: Callable[[Tensor, Tensor], Tensor], w: Tensor, x: Tensor, W: Tensor, bias: Tensor | None
) -> Jet:
    """y = apply(x, W) + bias, with the bias along the dimension of the outputs, [N, O, 1, ...] or [..., O]."""
    jet = series.jet(x)
    out = None if jet is None else jet.through(lambda part: apply(part, W))
    if id(W) in series.moves:
        group, U = series.moves[id(W)]
        first, pull = torch.func.vjp(lambda part: apply(part, U), x.detach())
        second = None
        if jet is not None:
            pulled = pull(w)[0]
            cross, bent = ((pulled * part).flatten(1).sum(1) for part in (jet.first, jet.second))  # w . U x', w . U x''
            _add_weight(series, jet, group, cross, bent)
            second = None if (i := jet.index(group)) is None else 2 * apply(jet.first[i], U)
        out = _plus(out, group, first, second)
    if bias is not None and id(bias) in series.moves:
        group, v = series.moves[id(bias)]
        shaped = v.view([-1] + [1] * (W.dim() - 2))  # a convolution has the outputs before its places
        out = _plus(out, group, shaped.expand_as(w), None)
    return out


def _add_weight(series: Series, jet: Jet, group: int, cross: Tensor, bent: Tensor) -> None:
    """F''[x'_s, U] for every direction s that has reached the layer of weights U, and 3 F''[U, x''] for its own."""
    for i, s in enumerate(jet.groups):
        series.hessian[s, group] += cross[i]
        series.hessian[group, s] += cross[i]
        if s == group:
            series.third[s] += 3 * bent[i]


def _plus(jet: Jet | None, group: int, first: Tensor, second: Tensor | None) -> Jet:
    """A jet with more in the direction of one group, which may be new."""
    first = first.detach()
    if jet is None:
        return Jet((group,), first[None], torch.zeros_like(first)[None])
    if (i := jet.index(group)) is None:
        return Jet(
            (*jet.groups, group),
            torch.cat([jet.first, first[None]]),
            torch.cat([jet.second, torch.zeros_like(first)[None]]),
        )
    jet.first[i] += first
    if second is not None:
        jet.second[i] += second
    return jet


def linear(series: Series, w: Tensor, y: Tensor, input, weight, bias=None) -> Jet:
    return bilinear(series, F.linear, w, input, weight, bias)


def conv2d(
    series: Series, w: Tensor, y: Tensor, input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1
) -> Jet:
    return bilinear(
        series, lambda part, W: F.conv2d(part, W, None, stride, padding, dilation, groups), w, input, weight, bias
    )


def elementwise(derivatives: Callable[..., tuple[Tensor | None, ...]]) -> Callable:
    """The rule of y = s(x), number by number, from (s1, s2, s3) = derivatives(x, y, *args): None where one vanishes."""

    def rule(series: Series, w: Tensor, y: Tensor, x: Tensor, *args, **options) -> Jet:
        s1, s2, s3 = derivatives(x.detach(), y.detach(), *args, **options)
        jet = series.jet(x)
        first, second = jet.first, s1 * jet.second
        if s2 is not None:
            bend = (w * s2) * first
            squares = first * first
            hessian = bend.flatten(1) @ first.flatten(1).T
            third = (bend * jet.second).flatten(1).sum(1) * 3
            if s3 is not None:
                third = third + ((w * s3) * first * squares).flatten(1).sum(1)
            series.add(jet.groups, hessian, third)
            second = second + s2 * squares
        return Jet(jet.groups, s1 * first, second)

    return rule


def structural(function: Callable) -> Callable:
    """The rule of a function that is linear in x, sample by sample."""

    def rule(series: Series, w: Tensor, y: Tensor, x: Tensor, *args, **options) -> Jet:
        return series.jet(x).through(lambda part: function(part, *args, **options))

    return rule


def max_pool2d(series: Series, w: Tensor, y: Tensor, x: Tensor, *args, **options) -> Jet:
    _, places = F.max_pool2d(x.detach(), *args, **options | {"return_indices": True})
    flat = places.flatten(2)

    def gather(part: Tensor) -> Tensor:
        times = len(part) // len(x)
        return part.flatten(2).gather(2, flat.repeat(times, 1, 1)).view(-1, *places.shape[1:])

    return series.jet(x).through(gather)


def _tanh(x, y):
    s1 = 1 - y * y
    return s1, -2 * y * s1, s1 * (6 * y * y - 2)


def _sigmoid(x, y):
    s1 = y * (1 - y)
    return s1, s1 * (1 - 2 * y), s1 * (1 - 6 * s1)


def _relu(x, y, inplace=False):
    return (y > 0).to(x.dtype), None, None


def _elu(x, y, alpha=1.0, inplace=False):
    e = torch.where(x > 0, 0, y + alpha)  # alpha exp(x), and so are all its derivatives
    return torch.where(x > 0, 1, e), e, e


def _softplus(x, y, beta=1.0, threshold=20.0):
    p, linear = (beta * x).sigmoid(), beta * x > threshold
    s2 = torch.where(linear, 0, beta * p * (1 - p))
    return torch.where(linear, 1, p), s2, beta * s2 * (1 - 2 * p)


def _sin(x, y):
    return x.cos(), -y, -x.cos()


RULES: dict[Callable, Callable] = {
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
    **{function: max_pool2d for function in (F.max_pool2d, torch.max_pool2d)},
}
"""torch's function, however it is called -> rule(series, w, y, *its arguments): the jet of y, w being the loss's gradient there."""
