"""`sobench retry`: make runs again whose result is not what was hoped for. What was there is put aside, never deleted."""

from __future__ import annotations

import argparse
import os
import shutil
import time
from collections import Counter
from pathlib import Path

from sobench.cli.arguments import root_of, runs_of, words_of
from sobench.errors import Failure, UsageError

CHOICES = {
    "failed": "failed",
    "oom": "out-of-memory",
    "timed_out": "timed-out",
    "diverged": "diverged",
    "skipped": "skipped",
    "stale": "stale",
}
"""Flag -> the runs that it names; stale: results of older code or other data."""
DEFAULT = ("failed", "out-of-memory", "timed-out")
OLD = ".old"
STAMP = "%Y-%m-%dT%H-%M-%S"


def retry(args: argparse.Namespace) -> int:
    """Put the directories of the chosen runs aside and make exactly these runs again."""
    from sobench.cli import run as app
    from sobench.config import grid, jobs

    experiment, words = words_of(args)
    wanted = [status for flag, status in CHOICES.items() if getattr(args, flag)] or list(DEFAULT)
    root, found = _of_experiment(experiment, words) if experiment else _of_folder(words)
    chosen = _chosen(root, found, wanted)
    if not experiment:
        known: dict[tuple[str, ...], str] = {}
        found = {slug: _without(again, words) for slug in chosen if (again := _again(root, slug, known))}
        chosen = {slug: status for slug, status in chosen.items() if slug in found}
    rest = [word for word in words if not experiment or word.startswith("hydra")]
    if not chosen:
        print(f"retry: nothing to do, no run is {', '.join(wanted[:-1])}{' or ' if wanted[1:] else ''}{wanted[-1]}")
        return 0
    file = jobs.write(root, "retry", [found[slug] for slug in chosen])
    try:
        makes = [jobs.option(file), *rest]
        chosen = _selected(chosen, [run.slug for run in grid.expand(makes)], rest)
        moved = {
            slug: status for slug, status in chosen.items() if put_aside(root, slug, goes_on=status == "timed-out")
        }
        print(
            "retry: "
            + ", ".join(f"{n} {status}" for status, n in Counter(moved.values()).items())
            + f"; what was there is in {root / OLD}",
            flush=True,
        )
        return app.run(["-m", *makes])
    finally:
        file.unlink(missing_ok=True)


def _of_experiment(experiment: str, words: list[str]) -> tuple[Path, dict[str, list[str]]]:
    """The root, and the overrides of every run that is asked for, by its directory."""
    runs = runs_of(experiment, words)
    return Path(runs[0].config["runs"]), {run.slug: list(run.overrides) for run in runs}


def _of_folder(words: list[str]) -> tuple[Path, dict[str, list[str]]]:
    """The root, and every run directory in it; what makes a run again is for _again, once it is chosen."""
    from sobench.results.status import run_directories

    root = root_of(words)
    return root, {os.path.relpath(directory, root): [] for directory in run_directories(root)}


def _chosen(root: Path, slugs, wanted: list[str]) -> dict[str, str]:
    """{slug: which of the wanted it is} of the run directories that are one of them."""
    from sobench.results.status import cells

    found = {}
    for cell in cells([root / slug for slug in slugs]):
        for seed, state in cell.states.items():
            kinds = [kind for kind in (state.status, "stale" if seed in cell.stale else None) if kind in wanted]
            found |= {f"{cell.name}/seed-{seed}": kinds[0]} if kinds else {}
    return found


def _again(root: Path, slug: str, known: dict[tuple[str, ...], str]) -> list[str] | None:
    """The overrides that make a run again; None, with a warning, where its settings are no longer what they were. known: the
    cells that overrides were found to make; the seeds of a cell are composed once."""
    import yaml

    from sobench.config import grid, jobs
    from sobench.config.registry import warn

    try:
        settings = yaml.safe_load((root / slug / "config.yaml").read_bytes())
        words = jobs.overrides({**settings, "runs": str(root)})
        cell = tuple(word for word in words if not word.startswith("seed="))
        if cell not in known:
            known[cell] = os.path.dirname(grid.expand(words)[0].slug)
        if f"{known[cell]}/seed-{settings['seed']}" == slug:
            return words
        reason = "its settings make another run now"
    except UsageError as error:
        reason = str(error)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, yaml.YAMLError) as error:
        reason = f"config.yaml cannot be used ({' '.join(str(error).split()):.80})"
    warn(f"{root / slug}: cannot be made again: {reason}")
    return None


def _without(job: list[str], words: list[str]) -> list[str]:
    """A job's overrides without those that the command line gives; groups stay, to be selected among."""
    from sobench.config.files import GROUPS

    given = {word.partition("=")[0].lstrip("+") for word in words} - {*GROUPS}
    return [word for word in job if word.partition("=")[0].lstrip("+") not in given]


def _selected(chosen: dict[str, str], made: list[str], words: list[str]) -> dict[str, str]:
    """Those of the chosen that the settings leave. Raises UsageError for settings that make other runs."""
    if set(made) - set(chosen):
        raise UsageError(
            f"retry: {' '.join(words)} makes other runs; allowed: settings that change no result, or groups that "
            "select among the runs"
        )
    return {slug: chosen[slug] for slug in made}


def put_aside(root: Path, slug: str, goes_on: bool = False) -> bool:
    """Move a run directory to runs/.old/<slug>/<time>, or copy it there and take its result away, for a run that goes on from its
    checkpoint; False if someone has begun it meanwhile. Raises Failure."""
    from filelock import FileLock, Timeout

    from sobench.system.heartbeat import holder

    source, shelf = root / slug, root / OLD / slug
    stamp = time.strftime(STAMP)
    names = [stamp, *(f"{stamp}.{n}" for n in range(1, 100))]
    if holder(source / "holder.json", source / "lock"):
        return False
    try:
        with FileLock(source / "lock", timeout=0.2):
            shelf.mkdir(parents=True, exist_ok=True)
            place = next(shelf / name for name in names if not (shelf / name).exists())
            if goes_on:
                shutil.copytree(source, place)
                (source / "summary.json").unlink(missing_ok=True)
            else:
                os.rename(source, place)
            return True
    except Timeout:
        return False
    except OSError as error:
        raise Failure(f"runs: cannot move {source}: {error.strerror or error}") from error
