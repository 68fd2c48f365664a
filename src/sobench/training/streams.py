"""Random streams of a run, all derived from one seed.

A stream is addressed by its name and a position, (epoch,) or (step, draw), and keeps no state. What one consumer draws
never shifts the numbers of another, and a resumed run needs only its step. The names are `init`, `order`,
`augmentation`, `fresh`, `labels`, `probe`, `dropout` and `validation`.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import torch

NAMES = ("init", "order", "augmentation", "fresh", "labels", "probe", "dropout", "validation")


class Streams:
    """All streams of one seed. device: where the generators live, unless a call names another."""

    def __init__(self, seed: int, device: torch.device | str = "cpu"):
        self.seed = seed
        self.device = torch.device(device)

    def entropy(self, name: str, *position: int) -> int:
        """A 63-bit seed that depends only on (seed, name, position). Raises ValueError for an unknown name."""
        key = (NAMES.index(name), *position)
        words = np.random.SeedSequence(self.seed, spawn_key=key).generate_state(2, np.uint32)
        return int(words[0]) << 31 | int(words[1]) >> 1

    def generator(self, name: str, *position: int, device: torch.device | str | None = None) -> torch.Generator:
        """A new generator at the start of stream `name` at `position`. Raises ValueError for an unknown name."""
        return torch.Generator(device or self.device).manual_seed(self.entropy(name, *position))

    def at(self, step: int) -> StepStreams:
        """The streams of one optimization step."""
        return StepStreams(self, step)


class StepStreams:
    """The streams of one step. The n-th draw of a stream does not depend on what other streams have drawn."""

    def __init__(self, streams: Streams, step: int):
        self._streams, self._step = streams, step
        self._draws: Counter[str] | None = None

    def generator(self, name: str) -> torch.Generator:
        """The next generator of stream `name` in this step."""
        self._draws = Counter() if self._draws is None else self._draws
        self._draws[name] += 1
        return self._streams.generator(name, self._step, self._draws[name])

    def entropy(self, name: str) -> int:
        """The seed of stream `name` in this step, the same at every call."""
        return self._streams.entropy(name, self._step)
