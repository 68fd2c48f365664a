"""The runs of which there is a directory, as their own records name them. No pandas, no torch."""

from __future__ import annotations

from pathlib import Path

from sobench.config.run import Run
from sobench.errors import UsageError
from sobench.results.parse import loads
from sobench.results.status import run_directories


def runs_under(root: Path) -> list[Run]:
    """Every run that was begun under `root`, by cell and seed. Directories whose record cannot be read are left out.

    The settings that identify no run, such as `threads`, are those of the first seed of a cell.
    """
    first: dict[str, Run] = {}
    runs = (_run(Path(directory), first) for directory in run_directories(root))
    return [run for run in runs if run is not None]


def _run(directory: Path, first: dict[str, Run]) -> Run | None:
    """The run of a directory; None without a readable record, and for a record of another run.

    first: the first run of each cell. Its settings are those of the others, whose YAML need not be read.
    """
    import yaml

    try:
        record = loads((directory / "run.json").read_bytes())
        cell, seed = record["cell"], record["seed"]
        if cell in first:
            run = first[cell].seeded(seed, ())
        else:
            contents = (directory / "config.yaml").read_bytes()
            run = Run(yaml.load(contents, getattr(yaml, "CSafeLoader", yaml.SafeLoader)), cell, seed)
        if run.slug != "/".join(directory.parts[-2:]):
            return None
        first.setdefault(cell, run)
        return run
    except (OSError, ValueError, KeyError, TypeError, UsageError, yaml.YAMLError):
        return None
