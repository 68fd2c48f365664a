"""Random augmentation of a batch of images, on the images' device and for all images at once.

An augmentation is a pure function of (images [N, C, H, W], generator): the same state of the generator gives the same
bits, and no number is copied to the host. A loader passes it to `Dataset.augment`, and it is applied to training
batches only.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Generator, Tensor


def flip_and_crop(
    images: Tensor, generator: Generator | None, *, padding: int = 4, fill: Sequence[float] = (0.0,)
) -> Tensor:
    """Random crops and flips of `images` [N, C, H, W], with the same shape.

    Each image is framed by `padding` pixels of `fill` (one number a channel), cropped at a random position to H x W,
    and mirrored with probability 1/2. The 2 (2 padding + 1)^2 views of an image are equally likely. The shifts and
    flips of a batch are three draws from `generator`, which is on the images' device (None: torch's global generator).

    Source: thesis, 3.7.2 and 4.7.2, "random horizontal flip and random crop", as in Krizhevsky et al. The padding of 4
    is that of He et al., section 4.2.
    """
    n, channels, height, width = images.shape
    framed = images.new_empty(n, channels, height + 2 * padding, width + 2 * padding)
    # A Python number is an argument of the kernel: no copy to the device, no wait.
    for channel, value in enumerate(fill):
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
