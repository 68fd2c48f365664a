"""Pre-norm transformer blocks, for `vit` and `gpt`.

    x <- x + attention(norm(x)),  x <- x + contract(gelu(expand(norm(x))))         x [N, T, D], T positions

Source: Vaswani et al., Attention Is All You Need (2017); the norms come first, as in Radford et al. (2019).

Decisions. Query, key, value and output are Linear layers of their own, so that methods by layers precondition each.
The key has no bias: softmax does not depend on it, and its gradient would be rounding. GELU is its tanh approximation,
as in GPT-2, because it has a complex form. Dropout follows the attention and the MLP, before they are added.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from sobench.errors import UsageError


class Attention(nn.Module):
    """Multi-head self-attention, [N, T, D] -> [N, T, D]. causal: a position attends to itself and those before it."""

    def __init__(self, width: int, heads: int, causal: bool):
        super().__init__()
        self.heads, self.causal = heads, causal
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width)
        self.output = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            layer(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for layer in (self.query, self.key, self.value)
        )
        y = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        return self.output(y.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """One block of the module's formula. expansion: the units of the MLP's hidden layer, in multiples of the width."""

    def __init__(self, width: int, heads: int, expansion: int, dropout: float, causal: bool):
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.attention = Attention(width, heads, causal)
        self.mlp_norm = nn.LayerNorm(width)
        self.expand = nn.Linear(width, expansion * width)
        self.contract = nn.Linear(expansion * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.dropout(self.attention(self.attention_norm(x)))
        h = F.gelu(self.expand(self.mlp_norm(x)), approximate="tanh")
        return x + self.dropout(self.contract(h))


def blocks(depth: int, width: int, heads: int, expansion: int, dropout: float, *, causal: bool) -> nn.Sequential:
    """`depth` blocks. Raises UsageError for a number of heads that does not divide the width."""
    if width % heads:
        raise UsageError(f"model.heads: got {heads}, allowed: a divisor of model.width={width}")
    return nn.Sequential(*(Block(width, heads, expansion, dropout, causal) for _ in range(depth)))
