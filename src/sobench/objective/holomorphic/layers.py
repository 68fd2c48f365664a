"""Linear maps, convolutions, pooling, batch normalization and dropout of complex tensors, from real operations.

    bilinear          f(x, W) = f(Re x, Re W) - f(Im x, Im W) + i (f(Re x, Im W) + f(Im x, Re W))
    average pooling   of the real and of the imaginary part
    max pooling       the entry whose real part is the largest
    BatchNorm         (z - m) / sqrt(v + eps) gamma + beta,  m = mean z,  v = mean (z - m)^2, without conjugation

Why torch's complex convolution will not do: it makes three real ones of the four, with Im f(x, W) = f(Re x + Im x, Re W + Im W) -
f(Re x, Re W) - f(Im x, Im W). Of imaginary parts of 1e-20 that leaves nothing. Here no numbers are subtracted that nearly agree;
where one argument is real, as the first layer's inputs are, there are two products, not four. Both parts of x go stacked through
one call for each part of W: VGG-11's convolutions take 4.1 times a real pass forward and backward, on one thread of a CPU.

BatchNorm's running statistics are read and not moved: a complex pass is never at the model's own parameters.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

Bilinear = Callable[[Tensor, Tensor], Tensor]


def parts(z: Tensor) -> Tensor:
    """The real and the imaginary part, [2, ...]."""
    return torch.view_as_real(z.resolve_conj()).movedim(-1, 0).contiguous()


def bilinear(f: Bilinear, x: Tensor, W: Tensor) -> Tensor:
    """f(x, W), each real or complex, for an f that takes x with leading dimensions."""
    if not W.is_complex():
        return torch.complex(*f(parts(x), W)) if x.is_complex() else f(x, W)
    Wr, Wi = parts(W)
    if not x.is_complex():
        return torch.complex(f(x, Wr), f(x, Wi))
    (rr, ir), (ri, ii) = f(parts(x), Wr), f(parts(x), Wi)
    return torch.complex(rr - ii, ri + ir)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    value = bilinear(F.linear, x, weight)
    return value if bias is None else value + bias


def convolution(conv: Callable) -> Callable:
    """The complex form of a convolution or its transpose, of x [N, C, ...] or [C, ...]."""

    def form(x: Tensor, weight: Tensor, bias: Tensor | None = None, *args, **kwargs) -> Tensor:
        inner = weight.dim() - 1  # channels and places

        def convolve(x: Tensor, W: Tensor) -> Tensor:
            flat = x.reshape(-1, *x.shape[-inner:])
            return conv(flat, W, None, *args, **kwargs).unflatten(0, x.shape[:-inner])

        alone = x.dim() == inner
        value = bilinear(convolve, x[None] if alone else x, weight)
        if bias is not None:
            value = value + bias.view(-1, *[1] * (inner - 1))
        return value[0] if alone else value

    return form


def mixed(f: Callable) -> Callable:
    """A product that torch makes of complex tensors, given real ones among them."""

    def form(*args, **kwargs) -> Tensor:
        kind = next(a.dtype for a in args if isinstance(a, Tensor) and a.is_complex())
        return f(*[a.to(kind) if isinstance(a, Tensor) else a for a in args], **kwargs)

    return form


def average_pool(pool: Callable) -> Callable:
    """The complex form of a real linear map of each channel by itself."""

    def form(z: Tensor, *args, **kwargs) -> Tensor:
        return torch.complex(*pool(parts(z).flatten(0, 1), *args, **kwargs).unflatten(0, (2, len(z))))

    return form


def max_pool(pool: Callable, dimensions: int) -> Callable:
    """The complex form of the largest entry: where the real part is the largest."""

    def form(z: Tensor, *args, **kwargs) -> Tensor:
        index = pool(z.real, *args, **kwargs | {"return_indices": True})[1]
        return z.flatten(-dimensions).gather(-1, index.flatten(-dimensions)).view_as(index)

    return form


def batch_norm(
    z: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Channels are dimension 1; with `training` by the batch's own statistics. Made of sums and products, also of real z."""

    def wide(channels: Tensor) -> Tensor:
        return channels.view(-1, *[1] * (z.dim() - 2))

    others = [0, *range(2, z.dim())]
    centred = z - wide(z.mean(others) if training else running_mean)
    variance = centred.square().mean(others) if training else running_var
    scale = (variance + eps).rsqrt() if weight is None else weight / (variance + eps).sqrt()
    return centred * wide(scale) if bias is None else centred * wide(scale) + wide(bias)


def dropout(drop: Callable) -> Callable:
    """The complex form of a product with a random mask, the same that a real tensor would meet."""
    return lambda z, p=0.5, training=True: z * drop(torch.ones_like(z.real), p, training)


CONVOLUTIONS = F.conv1d, F.conv2d, F.conv3d, F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d
PRODUCTS = torch.matmul, torch.mm, torch.mv, torch.bmm, torch.dot, torch.einsum
AVERAGES = F.avg_pool1d, F.avg_pool2d, F.avg_pool3d, F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d
MAXIMA = F.max_pool1d, F.max_pool2d, F.max_pool3d, F.adaptive_max_pool1d, F.adaptive_max_pool2d, F.adaptive_max_pool3d
DROPOUTS = F.dropout, F.dropout1d, F.dropout2d, F.dropout3d

FORMS: dict[str, Callable] = {"linear": linear, "batch_norm": batch_norm}
FORMS |= {f.__name__: convolution(f) for f in CONVOLUTIONS}
FORMS |= {f.__name__: mixed(f) for f in PRODUCTS}
FORMS |= {f.__name__: average_pool(f) for f in AVERAGES}
FORMS |= {f.__name__: max_pool(f, dimensions=i % 3 + 1) for i, f in enumerate(MAXIMA)}
FORMS |= {f.__name__: dropout(f) for f in DROPOUTS}
"""Name of a function of torch: its complex form."""
