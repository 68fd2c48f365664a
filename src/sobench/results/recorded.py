"""The runs of which there is a directory, as their own records name them. No pandas, no torch."""

from __future__ import annotations

from pathlib import Path

from sobench.config.run import Run
from sobench.results.parse import loads
from sobench.results.status import run_directories


def runs_under(root: Path) -> list[Run]:
    """Every run that was begun under `root`, by cell and seed. Directories whose record cannot be read are left out."""
    runs = (_run(Path(directory)) for directory in run_directories(root))
    return [run for run in runs if run is not None]


def _run(directory: Path) -> Run | None:
    """The run of a directory; None without a readable record, and for a record of another run."""
    import yaml

    try:
        record = loads((directory / "run.json").read_bytes())
        settings = yaml.load((directory / "config.yaml").read_bytes(), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        run = Run(settings, record["cell"], record["seed"])
        return run if run.slug == "/".join(directory.parts[-2:]) else None
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
        return None
