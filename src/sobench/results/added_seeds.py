"""The seeds that were added to a report by need, as a file under the folder of the runs. No pandas, no torch.

    runs/.seeds/<report>/<budget>-<digest of the declared runs>.json
    {"first": 3, "added": {"<cell>": [3, 4], ...}}

The file says that the numbers of seeds depend on the results. It is written before the added runs start, so that no
later command takes them for a fixed number of seeds.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sobench.config.run import Run
from sobench.errors import Failure
from sobench.system.files import parse_json, write_atomically

FOLDER = ".seeds"


@dataclass(frozen=True)
class AddedSeeds:
    """first: the number of seeds that were declared. added: the further seeds of each cell that has any."""

    path: Path
    first: int
    added: Mapping[str, frozenset[int]] = field(default_factory=dict)

    def seeds_of(self, cell: str) -> list[int]:
        return sorted(self.added.get(cell, ()))

    def with_runs(self, runs: Iterable[tuple[str, int]]) -> AddedSeeds:
        """With the seeds of these runs, (cell, seed), and those that another process has written in the meantime."""
        written = read(self.path)
        added = {cell: set(seeds) for cell, seeds in self.added.items()}
        for cell, seed in [*runs, *((c, s) for c, seeds in (written.added if written else {}).items() for s in seeds)]:
            added.setdefault(cell, set()).add(seed)
        return AddedSeeds(self.path, self.first, {cell: frozenset(seeds) for cell, seeds in added.items()})

    def write(self) -> None:
        """Write the file. Raises Failure."""
        added = {cell: sorted(seeds) for cell, seeds in sorted(self.added.items())}
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self.path, json.dumps({"first": self.first, "added": added}, indent=1).encode())
        except OSError as error:
            raise Failure(f"runs: cannot write {error.filename or self.path}: {error.strerror or error}") from error


def path_of(report_id: str, declared: Sequence[Run]) -> Path:
    """The file of a report with these declared runs. Settings that do not change the runs do not change it."""
    ids = "\n".join(sorted(run.id for run in declared))
    config = declared[0].config
    name = f"{config['budget']['name']}-{hashlib.sha256(ids.encode()).hexdigest()[:12]}.json"
    return Path(config["runs"]) / FOLDER / report_id / name


def read(path: Path) -> AddedSeeds | None:
    """The seeds in a file; None if there is no such file. Raises Failure for a damaged one."""
    try:
        content = parse_json(path.read_bytes())
        added = {str(cell): frozenset(map(int, seeds)) for cell, seeds in content["added"].items()}
        return AddedSeeds(path, int(content["first"]), added)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise Failure(
            f"runs: cannot read {path}, which names the seeds that were added by need: "
            f"{getattr(error, 'strerror', None) or 'it is damaged'}; without it they are left out of the report"
        ) from error
