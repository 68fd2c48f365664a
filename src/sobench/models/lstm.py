"""An LSTM over sequences of word ids, from word vectors to logits.

Source: Hochreiter and Schmidhuber (1997), with the forget gate of Gers et al. (2000): torch's equations.

    i, f, o = sigmoid(W x_t + U h + b),  g = tanh(W x_t + U h + b)      each its own rows of W [4H, D], U [4H, H], b
    c <- f c + i g,  h <- o tanh(c)                                     h = c = 0 before the first word
    z = V h_T + v                                                       of the last word

Kernel SGD, section 4.1, says "an LSTM network with pre-trained word vectors", last hidden width 100, and nothing more.
The 11.40 MB of its ESGD state on both text sets are some 3 million numbers, which is a vocabulary of 25,000 and more
times a width of 100: the word vectors are trained with the rest.

The recurrence is a loop and not nn.LSTM because Hessian products need double backward. cuDNN's LSTM has none, and
oneDNN's on a CPU takes 1.7 s a product where this loop takes 0.5 s (batch 64, 200 words, 100 inputs and units; one
thread, CPU time). A gradient takes 0.14 s here, 0.17 s with nn.LSTM's own loop, and 0.10 s with oneDNN's.

Padding is on the left, so that the last step of every sequence is that of its last word. The steps of padding keep the
gate i shut and c = h = 0, and change neither value nor gradient.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

BLOCK = 32
"""Steps whose input products W x_t are computed at once."""


class Recurrence(nn.Module):
    """One LSTM layer in one direction.

    inputs: D. hidden: H. last: return the state h [N, H] of the last step alone, not those of all steps [N, L, H]. The
    gates are in the order i, f, o, g. There are two biases, as in torch, and torch's initialisation: all parameters
    U(-1/sqrt(H), 1/sqrt(H)).
    """

    def __init__(self, inputs: int, hidden: int, last: bool):
        super().__init__()
        self.hidden, self.last = hidden, last
        self.weight_ih, self.weight_hh = (nn.Parameter(torch.empty(4 * hidden, n)) for n in (inputs, hidden))
        self.bias_ih, self.bias_hh = (nn.Parameter(torch.empty(4 * hidden)) for _ in range(2))
        for p in self.parameters():
            nn.init.uniform_(p, -(hidden**-0.5), hidden**-0.5)

    def forward(self, x: Tensor, real: Tensor) -> Tensor:
        """The states h of x [N, L, D]. real [N, L, 1]: 1 at the words of a sequence, 0 at padding, where h = c = 0."""
        if not self.last:
            return torch.stack(list(self._states(x, real)), 1)
        states = self._states(x, real)
        h = next(states)
        for state in states:
            h = state
        return h

    def _states(self, x: Tensor, real: Tensor) -> Iterator[Tensor]:
        """The state h [N, H] of each step, in order."""
        h = c = x.new_zeros(len(x), self.hidden)
        bias, recurrent, sizes = self.bias_ih + self.bias_hh, self.weight_hh.t(), [3 * self.hidden, self.hidden]
        for words, there in zip(x.transpose(0, 1).split(BLOCK), real.transpose(0, 1).split(BLOCK)):
            for entering, own in zip(linear(words, self.weight_ih, bias), there):
                gates, g = torch.addmm(entering, h, recurrent).split(sizes, 1)
                i, f, o = gates.sigmoid().chunk(3, 1)
                c = torch.addcmul(f * c, i * own, g.tanh())
                h = o * c.tanh()
                yield h


class LSTM(nn.Module):
    """Word ids int64 [N, L], with padding (0) on the left, to logits [N, outputs]. Arguments: those of `lstm`."""

    def __init__(
        self,
        vectors: Tensor,
        outputs: int,
        hidden: int,
        layers: int,
        bidirectional: bool,
        dropout: float,
        trainable: bool,
    ):
        super().__init__()
        directions = 1 + bidirectional
        widths = [vectors.shape[1], *[directions * hidden] * layers]
        self.embedding = nn.Embedding.from_pretrained(vectors.clone(), freeze=not trainable)
        self.layers = nn.ModuleList(
            nn.ModuleList(Recurrence(width, hidden, last=k == layers - 1) for _ in range(directions))
            for k, width in enumerate(widths[:-1])
        )
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(widths[-1], outputs)

    def forward(self, ids: Tensor) -> Tensor:
        padding = ids == 0
        layers = cast(Sequence[Sequence[Recurrence]], self.layers)  # a ModuleList does not know the type of its members
        order = backwards(padding) if len(layers[0]) == 2 else None
        x = self.embedding(ids)
        real = (~padding)[..., None].to(x.dtype)
        for layer in layers:
            parts = [layer[0](x, real)]
            if order is not None:
                h = layer[1](reorder(x, order), real)
                parts.append(h if layer[1].last else reorder(h, order))
            x = self.dropout(torch.cat(parts, -1))
        return self.output(x)


def backwards(padding: Tensor) -> Tensor:
    """Positions [N, L] that reverse each sequence and leave its padding in place. Reversing twice changes nothing."""
    steps = torch.arange(padding.shape[1], device=padding.device)
    return torch.where(padding, steps, len(steps) - 1 + padding.sum(1, keepdim=True) - steps)


def reorder(x: Tensor, order: Tensor) -> Tensor:
    """x [N, L, D] at the positions `order` [N, L] of its second axis."""
    return x.gather(1, order[..., None].expand_as(x))


def lstm(
    input_shape: Sequence[int],
    outputs: int,
    *,
    vectors: Tensor,
    hidden: int = 100,
    layers: int = 1,
    bidirectional: bool = False,
    dropout: float = 0.0,
    trainable: bool = True,
) -> LSTM:
    """An LSTM network: word ids int64 [N, L] to logits [N, outputs].

    input_shape: (L,), not used. vectors [V, D]: the initial word vectors, which come from the data set. hidden: units
    of a layer in each direction. layers: the number of layers. bidirectional: whether a second LSTM reads each text
    from its end. dropout: the share of the inputs of the layers above the first, and of the linear layer, that is
    dropped. trainable: whether the word vectors are trained.
    """
    return LSTM(vectors, outputs, hidden, layers, bidirectional, dropout, trainable)
