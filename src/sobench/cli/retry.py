"""`sobench retry`: repeat failed runs, or runs of other states. Old files are moved to runs/.old, never deleted."""

from __future__ import annotations

import argparse
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from sobench.cli.arguments import Selection, key_of, of_command, selecting
from sobench.errors import UsageError, one_line
from sobench.results.old import OLD, move_to_old
from sobench.results.state import CONTENDED, KEEPS, SHARED
from sobench.system.text import either

FLAGS = {
    "failed": "failed",
    "oom": "out-of-memory",
    "timed_out": "timed-out",
    "diverged": "diverged",
    "skipped": "skipped",
    "damaged": "damaged",
    "stale": "stale",
    CONTENDED: CONTENDED,
    SHARED: SHARED,
}
"""Flag -> the state of the runs that it selects; stale: a result of older code or other data; contended and shared: a
result whose time other work disturbed."""
ABOUT = {
    "stale": "results of older code or other data",
    CONTENDED: "results whose time other work disturbed",
    SHARED: "results of runs that shared their GPU",
}
"""What a flag selects, where "STATE runs" does not say it."""

DEFAULT = ("failed", "out-of-memory", "timed-out", "damaged")
"""States that are selected without a flag."""


def retry(args: argparse.Namespace) -> int:
    """Put the old files of the selected runs away and run exactly these runs."""
    from sobench.cli.run import run as run_command
    from sobench.config import grid, jobs

    asked = of_command(args)
    overrides = asked.overrides
    states = [state for flag, state in FLAGS.items() if getattr(args, flag)] or list(DEFAULT)
    if _names_runs(asked):
        runs = asked.runs()
        root = Path(runs[0].config["runs"])
        if not (asked.experiment or any(run.directory(root).is_dir() for run in runs)):
            raise _other_runs(overrides)
        repeated_by = {run.slug: list(run.overrides) for run in runs}
        selected = _select(root, repeated_by, states)
        further = [override for override in overrides if override.startswith("hydra")]
    else:
        root = asked.folder
        selected = _select(root, _slugs(root), states)
        repeated_by = _overrides_of(root, selected, overrides)
        selected = {slug: state for slug, state in selected.items() if slug in repeated_by}
        further = overrides
    if not selected:
        print(f"retry: nothing to do, no run is {either(states)}")
        return 0
    file = jobs.write(root, "retry", [repeated_by[slug] for slug in selected])
    try:
        arguments = [jobs.option(file), *further]
        selected = _narrowed(selected, [run.slug for run in grid.expand(arguments)], further)
        moved_states = [
            state for slug, state in selected.items() if move_to_old(root, slug, resumes=state == "timed-out")
        ]
        counts = ", ".join(f"{number} {state}" for state, number in Counter(moved_states).items())
        print(f"retry: {counts or 'no run'}; old files are in {root / OLD}", flush=True)
        return run_command(["-m", *arguments])
    finally:
        file.unlink(missing_ok=True)


def _names_runs(asked: Selection) -> bool:
    """Whether the arguments describe runs, as for `sobench run -m`: by an experiment, or by a setting that is neither a
    group nor the seed. Groups and seeds alone select among all runs in the folder."""
    from sobench.config.files import GROUPS

    return asked.experiment is not None or not {*GROUPS, "seed"}.issuperset(map(key_of, selecting(asked.overrides)))


def _slugs(root: Path) -> list[str]:
    """Every run directory under `root`, relative to it."""
    from sobench.results.status import run_directories

    return [os.path.relpath(directory, root) for directory in run_directories(root)]


def _select(root: Path, slugs: Iterable[str], states: Sequence[str]) -> dict[str, str]:
    """{slug: state} of the run directories in one of the states; a stale or disturbed result has its own state
    first."""
    from sobench.results.status import cells

    selected = {}
    for cell in cells([root / slug for slug in slugs]):
        for seed, current in cell.states.items():
            if current.status in states:
                selected[f"{cell.name}/seed-{seed}"] = current.status
            elif seed in cell.stale and "stale" in states:
                selected[f"{cell.name}/seed-{seed}"] = "stale"
            elif current.status in KEEPS and current.disturbed in states:
                selected[f"{cell.name}/seed-{seed}"] = str(current.disturbed)
    return selected


def _overrides_of(root: Path, slugs: Iterable[str], overrides: Sequence[str]) -> dict[str, list[str]]:
    """{slug: overrides} that repeat each run, without those that the command line replaces.

    A run that cannot be repeated is left out, with a warning.
    """
    cell_names: dict[tuple[str, ...], str] = {}
    repeated_by = {}
    for slug in slugs:
        own = _repeating(root, slug, cell_names)
        if own is not None:
            repeated_by[slug] = _without(own, overrides)
    return repeated_by


def _repeating(root: Path, slug: str, cell_names: dict[tuple[str, ...], str]) -> list[str] | None:
    """The overrides that repeat a run; None, with a warning, if its settings have become invalid or mean another run.

    cell_names: {overrides without the seed: name of the cell}, filled here, so that Hydra composes each cell only once.
    """
    import yaml

    from sobench.config import grid, jobs
    from sobench.config.registry import warn

    try:
        settings = yaml.safe_load((root / slug / "config.yaml").read_bytes())
        overrides = jobs.overrides({**settings, "runs": str(root)})
        cell = tuple(override for override in overrides if not override.startswith("seed="))
        if cell not in cell_names:
            cell_names[cell] = os.path.dirname(grid.expand(overrides)[0].slug)
        if f"{cell_names[cell]}/seed-{settings['seed']}" == slug:
            return overrides
        reason = "its settings now describe another run"
    except UsageError as error:
        reason = str(error)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, yaml.YAMLError) as error:
        reason = f"config.yaml cannot be used ({one_line(error, 80)})"
    warn(f"{root / slug}: cannot be repeated: {reason}")
    return None


def _without(job: Sequence[str], overrides: Sequence[str]) -> list[str]:
    """A job's overrides without those that the command line replaces; groups stay: they select among the runs."""
    from sobench.config.files import GROUPS

    replaced = {key_of(override) for override in overrides} - {*GROUPS}
    return [override for override in job if key_of(override) not in replaced]


def _narrowed(selected: dict[str, str], slugs: Sequence[str], overrides: Sequence[str]) -> dict[str, str]:
    """The selected runs that the overrides leave, `slugs`. Raises UsageError if these contain another run."""
    if set(slugs) - set(selected):
        raise _other_runs(overrides)
    return {slug: selected[slug] for slug in slugs}


def _other_runs(overrides: Sequence[str]) -> UsageError:
    return UsageError(
        f"retry: got {' '.join(overrides)}, which describes other runs; allowed: the settings of runs that are there, "
        "settings that change no result, or groups that select among all runs"
    )
