"""A character-level GPT: characters to logits of the next character at every position.

Sources: Radford et al., Language Models are Unsupervised Multitask Learners (2019), for the network, which is that of
Radford et al. (2018) with the norms first; A. Karpathy's nanoGPT for its use on characters.

    x_t = E character_t + position_t;   causal blocks (`transformer`);   z_t = V norm(x_t)

Initial weights: N(0, 0.02^2), and 1/sqrt(2 depth) times that for the two layers of a block that are added to x; biases
0. The default network has 0.2 million parameters.

Deviations. The output layer is not tied to the embedding: methods by layers need a weight that one layer alone uses.
The embedding is a Linear layer without bias on one-hot characters, the same function as a table, so that these methods
precondition it and a complex pass exists. The key has no bias (see `transformer`), and the default has no dropout.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sobench.errors import UsageError
from sobench.models.transformer import Block, blocks

SCALE = 0.02
"""The standard deviation of the initial weights."""


class GPT(nn.Module):
    """Character ids int64 [N, T] to outputs [N, T symbols], the logits by position. Arguments: those of `gpt`."""

    def __init__(self, length: int, symbols: int, width: int, depth: int, heads: int, expansion: int, dropout: float):
        super().__init__()
        self.embedding = nn.Linear(symbols, width, bias=False)
        self.positions = nn.Parameter(torch.empty(length, width))
        self.dropout = nn.Dropout(dropout)
        self.blocks = blocks(depth, width, heads, expansion, dropout, causal=True)
        self.norm = nn.LayerNorm(width)
        self.output = nn.Linear(width, symbols, bias=False)
        nn.init.normal_(self.positions, std=SCALE)
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight, std=SCALE)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
        for block in self.blocks:
            assert isinstance(block, Block)
            for layer in (block.attention.output, block.contract):
                nn.init.normal_(layer.weight, std=SCALE / (2 * depth) ** 0.5)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embedding(one_hot(ids, self.embedding.in_features, self.positions.dtype.to_real())) + self.positions
        return self.output(self.norm(self.blocks(self.dropout(x)))).flatten(1)


def one_hot(ids: Tensor, symbols: int, dtype: torch.dtype) -> Tensor:
    """1 at the id and 0 elsewhere, [..., symbols]. F.one_hot has no dtype, and copies to the host."""
    return (ids[..., None] == torch.arange(symbols, device=ids.device)).to(dtype)


def gpt(
    input_shape: Sequence[int],
    outputs: int,
    *,
    symbols: int,
    width: int,
    depth: int,
    heads: int,
    expansion: int,
    dropout: float,
) -> GPT:
    """A causal transformer: character ids int64 [N, T] to outputs [N, T symbols].

    input_shape: (T,). outputs: T symbols. symbols: the number of characters, which comes from the data set. width: D,
    the numbers of a position. depth: the number of blocks. heads: of attention. expansion: the hidden units of a
    block's MLP, in multiples of the width. dropout: the share that is dropped. Raises UsageError for other outputs, and
    for a number of heads that does not divide the width.
    """
    (length,) = input_shape
    if outputs != length * symbols:
        raise UsageError(
            f"model: gpt has an output for each of {symbols} characters at each of {length} positions, got {outputs} "
            "outputs; allowed: model.target=label"
        )
    return GPT(length, symbols, width, depth, heads, expansion, dropout)
