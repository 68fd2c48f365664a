"""A small vision transformer: patches of an image, pre-norm transformer blocks, and a Linear layer on their mean.

Sources: Dosovitskiy et al., An Image is Worth 16x16 Words (2021), for the network; Beyer et al., Better plain ViT
baselines for ImageNet-1k (2022), for the mean over positions in place of the class token.

    x_t = E patch_t + position_t;   blocks (`transformer`);   z = V mean_t norm(x_t) + v      or norm of the class token

Deviations. The positions are learned, as in 2021; those of 2022 are fixed sines. The output layer starts as the others
do (Glorot's uniform weights, biases 0) and not at zero, where every other gradient is zero. The key has no bias and
GELU is its tanh approximation (see `transformer`). There is no augmentation and no pre-training. The default sizes are
those of an experiment on 8x8 or 32x32 pixels, not those of the papers.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sobench.errors import UsageError
from sobench.models.transformer import blocks


class ViT(nn.Module):
    """A vision transformer: images [N, C, H, W] to outputs [N, outputs].

    patch: the side of a patch in pixels. width: D, the numbers of a position. depth: the number of blocks. heads: of
    attention. expansion: the hidden units of a block's MLP, in multiples of the width. class_token: whether the outputs
    are computed from an additional position, in place of the mean. dropout: the share that is dropped. Raises
    UsageError for inputs that are no images, and for patches and heads that do not divide them.
    """

    def __init__(
        self,
        input_shape: Sequence[int],
        outputs: int,
        *,
        patch: int,
        width: int,
        depth: int,
        heads: int,
        expansion: int,
        class_token: bool,
        dropout: float,
    ):
        super().__init__()
        shape = "x".join(map(str, input_shape))
        if len(input_shape) != 3:
            raise UsageError(f"model: vit takes images, got inputs {shape}; allowed: channels x height x width")
        if input_shape[1] % patch or input_shape[2] % patch:
            raise UsageError(f"model.patch: got {patch}, allowed: a divisor of both sides of the images, {shape}")
        channels, rows, columns = input_shape
        self.patch = patch
        self.embedding = nn.Linear(channels * patch**2, width)
        self.positions = nn.Parameter(torch.empty(rows // patch * (columns // patch), width))
        self.token = nn.Parameter(torch.zeros(width)) if class_token else None
        self.dropout = nn.Dropout(dropout)
        self.blocks = blocks(depth, width, heads, expansion, dropout, causal=False)
        self.norm = nn.LayerNorm(width)
        self.output = nn.Linear(width, outputs)
        nn.init.normal_(self.positions, std=0.02)
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)

    def forward(self, images: Tensor) -> Tensor:
        x = self.embedding(patches(images, self.patch)) + self.positions
        if self.token is not None:
            x = torch.cat([self.token.expand(len(x), 1, -1), x], 1)
        x = self.norm(self.blocks(self.dropout(x)))
        return self.output(x.mean(1) if self.token is None else x[:, 0])


def patches(images: Tensor, side: int) -> Tensor:
    """The patches of side x side pixels of images [N, C, H, W], row by row: [N, T, C side^2]."""
    split = images.unflatten(3, (-1, side)).unflatten(2, (-1, side))  # [N, C, rows, side, columns, side]
    return split.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)
