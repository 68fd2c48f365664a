"""A run: a resolved configuration and a seed, and the names that it goes by. No torch."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from sobench.config import identity, rules
from sobench.config.validation import RULES


@dataclass(frozen=True)
class Run:
    """A cell (a resolved configuration without its seed, `cell` its hash) and a seed; `overrides` make it again."""

    config: dict[str, Any]
    cell: str
    seed: int
    overrides: tuple[str, ...] = ()

    @classmethod
    def of(cls, settings: dict[str, Any], overrides: Sequence[str] = ()) -> Run:
        text = json.dumps(identity.identity(settings), sort_keys=True)
        return cls(settings, hashlib.sha256(text.encode()).hexdigest()[:12], settings["seed"], tuple(overrides))

    def seeded(self, seed: int | None, overrides: Sequence[str]) -> Run:
        """The run of the same cell with this seed (None: its own). The two share what their configurations have in common."""
        seed = self.seed if seed is None else seed
        rules.check("seed", seed, RULES["seed"])
        return Run({**self.config, "seed": seed}, self.cell, seed, tuple(overrides))

    @cached_property
    def id(self) -> str:
        return f"{self.cell}-{self.seed}"

    @property
    def name(self) -> str:
        """What a person calls it: its groups, the settings of the sweep that no optimizer owns, and its seed."""
        own = [
            o
            for o in self.overrides
            if not re.match(
                r"(seed|runs|reports|progress|threads|experiment|gpu\.\w+|optimizer\.\w+|budget\.\w+|\w+/?\w*)=", o
            )
        ]
        groups = [self.label(group) for group in ("dataset", "model", "optimizer")]
        return " ".join([*groups, *own, f"seed {self.seed}"])

    @property
    def slug(self) -> str:
        parts = [_in_a_path(self.label(key)) for key in ("dataset", "model", "optimizer")]
        return f"{'_'.join(parts)}_{self.cell}/seed-{self.seed}"

    def label(self, group: str) -> str:
        return self.config[group]["name"]

    def directory(self, root: Path | str) -> Path:
        return Path(root) / self.slug


@lru_cache
def _in_a_path(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9-]+", "-", name)
