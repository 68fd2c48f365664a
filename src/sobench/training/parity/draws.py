"""The same random signs for every implementation, whatever function it draws them with.

Methods that estimate a diagonal draw a sign for each parameter. One draws 31 of them at once as the bits of an integer,
another one number 0 or 1 for each. `SharedBits` gives both the same bits in the same order.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from sobench.training.streams import StepStreams

WORD = 31
"""Random bits of an int32 of `random_`, which is from 0 to 2^31 - 1."""


class SharedBits(TorchDispatchMode):
    """A context in which random integers are made of the bits of a step, each bit once, in their order.

    Such integers are those of two values, one bit each, and those of `random_` in int32, 31 bits each. Every other
    random number comes from torch, whose global generator starts at the same state. Dropout masks are no integers.
    """

    def __init__(self, streams: StepStreams):
        super().__init__()
        self._generator = torch.Generator().manual_seed(streams.entropy("probe"))
        torch.manual_seed(streams.entropy("probe"))

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if torch.Tag.nondeterministic_seeded not in func.tags or not isinstance(out, Tensor):
            return out
        given = {argument.name: value for argument, value in zip(func._schema.arguments, args)} | (kwargs or {})
        low, high = given.get("low", given.get("from")) or 0, given.get("high", given.get("to"))
        if high is not None and high - low == 2:
            return out.copy_(low + self._bits(out.numel()).view(out.shape))
        if func.overloadpacket is torch.ops.aten.random_ and high is None and out.dtype == torch.int32:
            bits = self._bits(out.numel() * WORD).view(*out.shape, WORD)
            return out.copy_((bits << torch.arange(WORD)).sum(-1))
        return out

    def _bits(self, count: int) -> Tensor:
        """The next bits, 0 or 1, int64 [count]."""
        return torch.randint(0, 2, (count,), generator=self._generator)
