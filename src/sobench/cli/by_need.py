"""The runs of a report: those that its experiment declares, and those of the seeds that were added by need."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from sobench.cli.arguments import EXPERIMENT, Selection, check_overrides, key_of
from sobench.config.grid import seedless, sweeper
from sobench.config.run import Run
from sobench.errors import Failure, UsageError
from sobench.report import read
from sobench.results import added_seeds
from sobench.results.added_seeds import AddedSeeds
from sobench.results.state import KEEPS, state
from sobench.system.text import plural

if TYPE_CHECKING:
    from sobench.report.looks import Looks

_NAMES_RUNS = re.compile(r"[+~]*(seed|hydra\.sweeper\.(jobs|trials))(=|$)")


@dataclass(frozen=True)
class Asked:
    """The runs that a report asks for.

    selected: the experiment, and the settings of the report and of the command line. declared: the runs of these.
    record: of the seeds that were added, if any were.
    """

    selected: Selection
    declared: list[Run]
    record: AddedSeeds | None = None

    @property
    def looks(self) -> Looks | None:
        from sobench.report.looks import Looks

        return Looks(self.record.first) if self.record else None

    @property
    def runs(self) -> list[Run]:
        return [*self.declared, *self.added]

    @cached_property
    def added(self) -> list[Run]:
        """The runs of the added seeds, made from the declared run of each cell."""
        if self.record is None:
            return []
        first_of = {run.cell: run for run in reversed(self.declared)}
        declared = {run.id for run in self.declared}
        runs = [_seeded(run, seed) for cell, run in first_of.items() for seed in self.record.seeds_of(cell)]
        return [run for run in runs if run.id not in declared]

    def by_need(self, record: AddedSeeds) -> Asked:
        return replace(self, record=record)


def _seeded(run: Run, seed: int) -> Run:
    rest, _ = seedless(run.overrides)
    return run.seeded(seed, [*rest, f"seed={seed}"])


def asked(report_id: str, overrides: Sequence[str]) -> Asked:
    """The runs of a report, with the seeds that were added by need unless the overrides name the seeds."""
    report, overrides = read(report_id), check_overrides(overrides)
    given = {key_of(override) for override in overrides}
    own = [setting for setting in report.settings if key_of(setting) not in given]
    selected = Selection(report.experiment or None, [*own, *overrides])
    declared = selected.runs()
    record = None if named_seeds(overrides) else added_seeds.read(added_seeds.path_of(report_id, declared))
    return Asked(selected, declared, record)


def make(wanted: Asked) -> int:
    """Make the declared runs, and those of the seeds that are recorded as added. Returns the exit code.

    Raises Failure if none has a result.
    """
    from sobench.cli.run import run as run_command

    selected = wanted.selected
    code = run_command(selected.arguments)
    if not any(map(has_result, wanted.declared)):
        words = [selected.experiment] if selected.experiment else selected.overrides
        raise Failure(
            f"{selected.experiment or 'reproduce'}: no result from its {plural(len(wanted.declared), 'run')}, "
            f"see `{shlex.join(['sobench', 'status', *words])}`"
        )
    left = [run for run in wanted.added if not has_result(run)]
    return max(code, launch(left, selected.overrides)) if left else code


def launch(runs: Sequence[Run], overrides: Sequence[str]) -> int:
    """Make exactly these runs, as `sobench run` would."""
    from sobench.cli.run import run as run_command
    from sobench.config import jobs

    file = jobs.write(root_of(runs), "seeds", [run.overrides for run in runs])
    about_hydra = [override for override in overrides if re.match(r"hydra(?![./]sweeper)", override)]
    try:
        return run_command(["-m", jobs.option(file), *about_hydra])
    finally:
        file.unlink(missing_ok=True)


def has_result(run: Run) -> bool:
    return state(run.directory(run.config["runs"])).status in KEEPS


def root_of(runs: Sequence[Run]) -> Path:
    return Path(runs[0].config["runs"])


def named_seeds(overrides: Iterable[str]) -> str | None:
    """The override that names the seeds or the runs, None if there is none."""
    return next((override for override in overrides if _NAMES_RUNS.match(override)), None)


def asked_by_need(option: str, report_id: str, overrides: Sequence[str]) -> Asked:
    """The runs of a report whose seeds are added by need: with a record, a new one if there is none yet.

    option: the one that asks for it. Raises UsageError for a report without claims, for seeds in the overrides, and for
    cells that have seeds of their own.
    """
    if not read(report_id).claims:
        raise UsageError(f"{option}: got {report_id}, which has no claims; allowed: a report with claims")
    if named := named_seeds(overrides):
        raise UsageError(
            f"{option}: got {named}, which fixes the seeds; allowed: settings that leave the seeds of the experiment"
        )
    wanted = asked(report_id, overrides)
    seeds, cells = declared_seeds(wanted.declared), {run.cell for run in wanted.declared}
    if len(wanted.declared) != len(seeds) * len(cells):
        raise UsageError(
            f"{option}: the cells of {report_id} have different seeds; allowed: an experiment whose cells "
            "share their seeds"
        )
    fresh = AddedSeeds(added_seeds.path_of(report_id, wanted.declared), len(seeds))
    return wanted.by_need(wanted.record or fresh)


def declared_seeds(declared: Iterable[Run]) -> list[int]:
    return sorted({run.seed for run in declared})


def seeds_in_order(asked: Asked) -> list[int]:
    """The declared seeds, and those after them without the ones of tuning, as many as the last look has."""
    number = asked.looks.last if asked.looks else 0
    experiment = asked.selected.experiment
    tune = sweeper([f"{EXPERIMENT}{experiment}"])["tune"] if experiment else None
    tuning = set((tune or {}).get("seeds") or ())
    seeds = declared_seeds(asked.declared)
    candidate = seeds[-1]
    while len(seeds) < number:
        candidate += 1
        if candidate not in tuning:
            seeds.append(candidate)
    return seeds
