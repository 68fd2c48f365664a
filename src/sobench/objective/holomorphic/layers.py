"""Linear maps, convolutions, pooling, normalizations and dropout of complex tensors, by real operations.

    bilinear          f(x, W) = f(Re x, Re W) - f(Im x, Im W) + i (f(Re x, Im W) + f(Im x, Re W))
    average pooling   of the real and of the imaginary part
    max pooling       the entry with the largest real part
    attention         softmax(q k' / sqrt(d)) v, without conjugation
    normalizations    (z - m) / sqrt(v + eps) gamma + beta,  m = mean z,  v = mean (z - m)^2, without conjugation

torch's own complex convolution is not usable. It computes three real ones instead of four, with Im f(x, W) =
f(Re x + Im x, Re W + Im W) - f(Re x, Re W) - f(Im x, Im W), which loses imaginary parts of 1e-20 completely. The forms
here subtract no nearly equal numbers. If one argument is real, as the inputs of the first layer are, they take two
products instead of four. Both parts of x are stacked into one call for each part of W: VGG-11's convolutions take 4.1
times a real pass forward and backward, on one thread of a CPU.

BatchNorm's running statistics are read and not updated: a complex pass is never at the model's own parameters.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from sobench.objective.holomorphic.scalars import softmax
from sobench.objective.normalizations import FORMS as NORMALIZATIONS

Bilinear = Callable[[Tensor, Tensor], Tensor]
Form = Callable[..., Tensor]
"""A function of torch, or its complex extension, which takes the same arguments."""


def parts(z: Tensor) -> Tensor:
    """The real and the imaginary part of z [...], stacked: [2, ...]."""
    return torch.view_as_real(z.resolve_conj()).movedim(-1, 0).contiguous()


def bilinear(f: Bilinear, x: Tensor, W: Tensor) -> Tensor:
    """f(x, W) for real or complex x and W. f must accept additional leading dimensions of x."""
    if not W.is_complex():
        return torch.complex(*f(parts(x), W)) if x.is_complex() else f(x, W)
    Wr, Wi = parts(W)
    if not x.is_complex():
        return torch.complex(f(x, Wr), f(x, Wi))
    (rr, ir), (ri, ii) = f(parts(x), Wr), f(parts(x), Wi)
    return torch.complex(rr - ii, ri + ir)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """The complex form of F.linear."""
    value = bilinear(F.linear, x, weight)
    return value if bias is None else value + bias


def convolution(conv: Form) -> Form:
    """The complex form of a convolution or a transposed one, for x [N, C, ...] or [C, ...]."""

    def form(x: Tensor, weight: Tensor, bias: Tensor | None = None, *args: Any, **kwargs: Any) -> Tensor:
        inner = weight.dim() - 1  # channels and spatial dimensions

        def convolve(x: Tensor, W: Tensor) -> Tensor:
            flat = x.reshape(-1, *x.shape[-inner:])
            return conv(flat, W, None, *args, **kwargs).unflatten(0, x.shape[:-inner])

        unbatched = x.dim() == inner
        value = bilinear(convolve, x[None] if unbatched else x, weight)
        if bias is not None:
            value = value + bias.view(-1, *[1] * (inner - 1))
        return value[0] if unbatched else value

    return form


def mixed(f: Form) -> Form:
    """The complex form of a product that torch has for complex tensors, with real ones among its arguments."""

    def form(*args: Any, **kwargs: Any) -> Tensor:
        dtype = next(a.dtype for a in args if isinstance(a, Tensor) and a.is_complex())
        return f(*[a.to(dtype) if isinstance(a, Tensor) else a for a in args], **kwargs)

    return form


def average_pool(pool: Form) -> Form:
    """The complex form of a real linear map of each channel on its own."""

    def form(z: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return torch.complex(*pool(parts(z).flatten(0, 1), *args, **kwargs).unflatten(0, (2, len(z))))

    return form


def max_pool(pool: Form, dimensions: int) -> Form:
    """The complex form of max pooling in so many dimensions: the entry with the largest real part."""

    def form(z: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        index = pool(z.real, *args, **kwargs | {"return_indices": True})[1]
        return z.flatten(-dimensions).gather(-1, index.flatten(-dimensions)).view_as(index)

    return form


def dropout(drop: Form) -> Form:
    """The complex form of a dropout, with the random mask that a real tensor would meet."""

    def form(z: Tensor, p: float = 0.5, training: bool = True) -> Tensor:
        return z * drop(torch.ones_like(z.real), p, training)

    return form


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """The complex form of F.scaled_dot_product_attention, without dropout and grouped queries."""
    if dropout_p or enable_gqa:
        raise NotImplementedError("scaled_dot_product_attention has a complex form without dropout_p and enable_gqa")
    scores = mixed(torch.matmul)(query, key.transpose(-2, -1)) * (query.shape[-1] ** -0.5 if scale is None else scale)
    if is_causal:
        attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
    if attn_mask is not None and attn_mask.dtype is torch.bool:
        scores = scores.masked_fill(~attn_mask, -torch.inf)
    elif attn_mask is not None:
        scores = scores + attn_mask
    return mixed(torch.matmul)(softmax(scores, -1), value)


CONVOLUTIONS = F.conv1d, F.conv2d, F.conv3d, F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d
PRODUCTS = torch.matmul, torch.mm, torch.mv, torch.bmm, torch.dot, torch.einsum
AVERAGES = F.avg_pool1d, F.avg_pool2d, F.avg_pool3d, F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d
MAXIMA = F.max_pool1d, F.max_pool2d, F.max_pool3d, F.adaptive_max_pool1d, F.adaptive_max_pool2d, F.adaptive_max_pool3d
DROPOUTS = F.dropout, F.dropout1d, F.dropout2d, F.dropout3d

FORMS: dict[str, Form] = {"linear": linear, "scaled_dot_product_attention": attention}
FORMS |= {f.__name__: convolution(f) for f in CONVOLUTIONS}
FORMS |= {f.__name__: mixed(f) for f in PRODUCTS}
FORMS |= {f.__name__: average_pool(f) for f in AVERAGES}
FORMS |= {f.__name__: max_pool(f, dimensions=i % 3 + 1) for i, f in enumerate(MAXIMA)}
FORMS |= {f.__name__: dropout(f) for f in DROPOUTS}
FORMS |= {f.__name__: form for f, form in NORMALIZATIONS.items()}
"""Name of a function of torch -> its complex form."""
