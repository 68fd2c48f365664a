"""A run: a resolved configuration and a seed, and the names of both. No torch."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from sobench.config import identity, names, rules
from sobench.config.by_path import short_name
from sobench.config.files import flat
from sobench.config.validation import RULES


@dataclass(frozen=True)
class Run:
    """One run to train.

    config: the resolved configuration. cell: the hash of what identifies it without the seed; the runs of a cell differ
    by `seed` alone. overrides: the command line that composes the run again.
    """

    config: dict[str, Any]
    cell: str
    seed: int
    overrides: tuple[str, ...] = ()

    @classmethod
    def of(cls, settings: dict[str, Any], overrides: Sequence[str] = ()) -> Run:
        """The run of these settings, which hold its seed."""
        text = json.dumps(identity.identity(settings), sort_keys=True)
        return cls(settings, hashlib.sha256(text.encode()).hexdigest()[:12], settings["seed"], tuple(overrides))

    def seeded(self, seed: int | None, overrides: Sequence[str]) -> Run:
        """The run of the same cell with this seed, by default its own. The two share parts of their settings.

        Raises UsageError for a seed out of range.
        """
        seed = self.seed if seed is None else seed
        rules.check("seed", seed, RULES["seed"])
        return Run({**self.config, "seed": seed}, self.cell, seed, tuple(overrides))

    @cached_property
    def id(self) -> str:
        """The identity of the run, "<cell>-<seed>"."""
        return f"{self.cell}-{self.seed}"

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The configuration by dotted paths."""
        return dict(flat(self.config))

    @property
    def name(self) -> str:
        """A name for people: data set, model, optimizer, the overrides that are no settings of these, and the seed."""
        own = [
            o
            for o in self.overrides
            if not re.match(
                r"(seed|runs|reports|progress|threads|experiment|gpu\.\w+|optimizer\.\w+|budget\.\w+|\w+/?\w*)=", o
            )
        ]
        return " ".join([*names.problem(self.config), *own, f"seed {self.seed}"])

    @property
    def slug(self) -> str:
        """The run's directory below `runs`: "<data set>_<model>_<optimizer>_<cell>/seed-<seed>"."""
        folder = _folder(self.label("dataset"), self.label("model"), self.label("optimizer"), self.cell)
        return f"{folder}/seed-{self.seed}"

    def label(self, group: str) -> str:
        """The name of the member that a config group has here."""
        return self.config[group]["name"]

    def directory(self, root: Path | str) -> Path:
        """The run's directory below the folder `root`."""
        return Path(root) / self.slug


def names_of(runs: Iterable[Run]) -> dict[str, str]:
    """The name of each run beside the others, by its id: that of its cell, see `sobench.config.names`, and the seed."""
    runs = list(runs)
    of_cell = names.names({run.cell: run.config for run in runs})
    return {run.id: f"{of_cell[run.cell]} seed {run.seed}" for run in runs}


@lru_cache
def _folder(dataset: str, model: str, optimizer: str, cell: str) -> str:
    names = [re.sub(r"[^A-Za-z0-9-]+", "-", short_name(name)) for name in (dataset, model, optimizer)]
    return "_".join([*names, cell])
