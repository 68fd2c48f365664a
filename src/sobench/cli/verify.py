"""`sobench verify`: compare all files of runs with the digests of their ends. Nothing is taken from a cache."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from sobench.cli.arguments import Selection, of_command
from sobench.results import digests
from sobench.results.state import DAMAGED, result
from sobench.results.status import run_directories
from sobench.system.text import plural

INTACT, WITHOUT, OPEN = "intact", "without a digest", "not over"


def verify(args: argparse.Namespace) -> int:
    """Print a line for each damaged run, and the number of runs of each kind. Returns 1 if a run is damaged."""
    selected = of_command(args)
    directories = _directories(selected)
    if not directories:
        print(f"no runs under {selected.folder}")
        return 0
    counts: Counter[str] = Counter()
    for directory in directories:
        kind, damage = _verified(directory)
        counts[kind] += 1
        if damage:
            print(f"{directory}: {damage}", flush=True)
    found = ", ".join(f"{counts[kind]:,} {kind}" for kind in (INTACT, DAMAGED, WITHOUT, OPEN) if counts[kind])
    print(f"{plural(len(directories), 'run')}: {found}")
    return int(counts[DAMAGED] > 0)


def _directories(selected: Selection) -> Sequence[Path]:
    if selected.is_everything:
        return [Path(directory) for directory in run_directories(selected.folder)]
    runs = selected.runs()
    return [run.directory(Path(run.config["runs"])) for run in runs]


def _verified(directory: Path) -> tuple[str, str | None]:
    """What a run is, and its damage in words."""
    ended = result(directory, anew=True)
    if ended is None:
        damage = ", ".join(_damaged_checkpoints(directory))
        return (DAMAGED, damage) if damage else (OPEN, None)
    if ended.status == DAMAGED:
        return DAMAGED, ended.reason
    return INTACT if digests.has_digests(ended.summary) else WITHOUT, None


def _damaged_checkpoints(directory: Path) -> Iterator[str]:
    """The checkpoints of a run that is not over, as far as a run cannot resume from them."""
    for path in sorted(directory.glob("checkpoint*.pt")):
        try:
            digests.unsigned(path.read_bytes())
        except FileNotFoundError:  # a process that makes the run has replaced it
            continue
        except (OSError, ValueError):
            yield f"{path.name} is damaged"
