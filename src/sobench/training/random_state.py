"""The global random states of torch, Python and numpy. A model, a data set or an optimizer of others may draw from any.

What sobench itself draws comes from named streams: `sobench.training.streams`.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


def seed(number: int) -> None:
    """Set all of them."""
    torch.manual_seed(number)
    random.seed(number)
    np.random.seed(number % 2**32)


def state(device: torch.device) -> dict[str, Any]:
    """All of them, as tensors, numbers, strings and tuples of these."""
    kind, numbers, *rest = np.random.get_state(legacy=True)
    return {
        "random": torch.get_rng_state(),
        "cuda_random": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
        "python_random": random.getstate(),
        "numpy_random": (str(kind), torch.from_numpy(np.asarray(numbers).astype(np.int64)), *rest),
    }


def restore(saved: dict[str, Any], device: torch.device) -> None:
    """Set what `state` returned. An older checkpoint has torch's alone."""
    torch.set_rng_state(saved["random"].cpu())
    if saved["cuda_random"] is not None:
        torch.cuda.set_rng_state(saved["cuda_random"].cpu(), device)
    if "python_random" in saved:
        random.setstate(saved["python_random"])
        kind, numbers, *rest = saved["numpy_random"]
        np.random.set_state((kind, numbers.cpu().numpy().astype(np.uint32), *rest))


@contextmanager
def undone(device: torch.device) -> Iterator[None]:
    """Set them back at the end of the context."""
    before = state(device)
    try:
        yield
    finally:
        restore(before, device)
