"""The precision of statistics and of flat vectors: that of the model, and at least float32.

torch has no decompositions in half precision, and a moving average in bfloat16 stops to move.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce

import torch
from torch import Tensor

LOW = frozenset({torch.float16, torch.bfloat16})
"""The types with less precision than float32."""


def common(types: Iterable[torch.dtype]) -> torch.dtype:
    """The type to which all of these are promoted, at least float32."""
    return reduce(torch.promote_types, types, torch.float32)


def at_least_single(x: Tensor) -> Tensor:
    """x itself, or x in float32 if its type has less precision."""
    return x.float() if x.dtype in LOW else x
