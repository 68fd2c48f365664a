"""Random variants of a batch of images, on their own device, all images at once.

Pure functions of (images [N, C, H, W], generator): the same generator state gives the same bits, and nothing comes to
the host. A loader hands one to `Dataset.augment`; the harness applies it to training batches only.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Generator, Tensor


def flip_and_crop(
    images: Tensor, generator: Generator | None, *, padding: int = 4, fill: Sequence[float] = (0.0,)
) -> Tensor:
    """Each image framed by `padding` pixels of `fill` (a number a channel), a random H x W crop of that, and, with
    probability 1/2, its mirror image: one of the 2 (2 padding + 1)^2 equally likely views.

    The shifts and the flips of a batch are three draws from `generator`, which is on the images' device (None: torch's
    global one). Thesis, 3.7.2 and 4.7.2: "random horizontal flip and random crop", as in Krizhevsky et al.; the padding
    of 4 is that of He et al., section 4.2.
    """
    n, channels, height, width = images.shape
    framed = images.new_empty(n, channels, height + 2 * padding, width + 2 * padding)
    for channel, value in enumerate(fill):  # numbers of the host go into a kernel as they are: no copy, no wait
        framed[:, channel].fill_(value)
    framed[:, :, padding : padding + height, padding : padding + width] = images

    def draw(high: int) -> Tensor:
        return torch.randint(high, (n, 1), generator=generator, device=images.device)

    top, left, flipped = draw(2 * padding + 1), draw(2 * padding + 1), draw(2) == 1
    rows = top + torch.arange(height, device=images.device)
    columns = torch.arange(width, device=images.device)
    columns = left + torch.where(flipped, columns.flip(0), columns)
    image = torch.arange(n, device=images.device)[:, None, None, None]
    channel = torch.arange(channels, device=images.device)[:, None, None]
    return framed[image, channel, rows[:, None, :, None], columns[:, None, None, :]]
