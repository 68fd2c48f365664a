"""Hydra's configuration loader for the jobs of a sweep: what differs by the seed alone is composed once in each process. No torch.

A launcher has every job composed anew, which takes Hydra some 100 ms. All seeds of a cell are composed from the same files to
the same configuration: one is kept as it came, interpolations and all, and copies of it have the other seeds put in. It is kept
pickled, in memory: to load that takes a tenth of what OmegaConf's own copy does.
"""

from __future__ import annotations

import pickle
import uuid
from collections.abc import Sequence
from typing import Any

CELLS = 1000
"""The most configurations that are kept, of some 20 kB each."""

_composed: dict[tuple, bytes] = {}


class CellLoader:
    """The loader given, but for `load_sweep_config`. It is pickled once for each job: what it composed stays in the process."""

    def __init__(self, loader, sweep: str | None = None):
        self._loader, self._sweep = loader, sweep or uuid.uuid4().hex

    def __reduce__(self):
        return CellLoader, (self._loader, self._sweep)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def load_sweep_config(self, master_config, sweep_overrides: Sequence[str]):
        """The configuration of the job with these overrides. Raises what Hydra's loader raises."""
        from omegaconf import open_dict

        from sobench.grid import seedless

        cell, seed = seedless(sweep_overrides)
        if seed is None:
            return self._loader.load_sweep_config(master_config, list(sweep_overrides))
        key = (self._sweep, cell)
        if key not in _composed:
            while len(_composed) >= CELLS:
                _composed.pop(next(iter(_composed)))
            _composed[key] = pickle.dumps(self._loader.load_sweep_config(master_config, list(cell)))
        config = pickle.loads(_composed[key])
        with open_dict(config):
            config.seed = seed
            config.hydra.overrides.task = list(sweep_overrides)
        return config
