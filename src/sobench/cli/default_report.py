"""The default report, of runs for which there is no description: where it is written, and the commands behind it.

It has a short folder of its own, reports/<experiment> or reports/<data set>-<model>. The folder is taken again for the
same runs, and for a request that contains all of its runs; other runs get the next number: digits-mlp-2.
"""

from __future__ import annotations

import shlex
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from sobench.cli.arguments import Selection, selecting, value_of
from sobench.config.registry import warn
from sobench.config.run import Run
from sobench.errors import Failure, UsageError

if TYPE_CHECKING:
    from sobench.report.default import Problem


def write_default(selected: Selection) -> list[Path]:
    """Write the report of each problem of the selected runs; their pages. A problem without any result is left out.

    Raises UsageError if there are no runs, or none with a result.
    """
    from sobench.report import default
    from sobench.report.writer import require_finished, write_described
    from sobench.results.collection import collect
    from sobench.results.state import KEEPS

    runs, root, reports = _runs(selected)
    results = collect(runs, root, default.wanted(runs).__contains__)
    words, settings = _words(selected, root), None if selected.is_everything else selecting(selected.overrides)
    made_with = ["-m", "..."] if selected.is_everything else selected.arguments
    require_finished("report", results, root, shlex.join(["sobench", "run", *made_with]))
    problems, pages = default.problems(results.runs), []
    for problem in problems:
        ids = {run.id for run in problem.runs}
        own = results.of(ids)
        if not any(state.status in KEEPS for state in own.states.values()):
            warn(f"{problem.title}: left out, none of its runs has a result")
            continue
        name = _name(selected, problem, alone=len(problems) == 1)
        folder = _folder(reports, name, ids, anywhere=selected.is_everything)
        report = default.describe(
            own, problem, folder.relative_to(reports).as_posix(), selected.experiment, settings or ()
        )
        pages.append(write_described(report, own, folder, words, settings)[0])
    return pages


def make_and_write(selected: Selection) -> tuple[int, list[Path]]:
    """Make the missing runs, then write their reports; the exit code, and the pages."""
    from sobench.cli.by_need import Asked, make

    code = make(Asked(selected, selected.runs()))
    return code, write_default(selected)


def _runs(selected: Selection) -> tuple[list[Run], Path, Path]:
    """The runs, their folder, and that of the reports. Raises UsageError if there are none in the folder."""
    from sobench.results.recorded import runs_under

    if not selected.is_everything:
        runs = selected.runs()
        return runs, Path(runs[0].config["runs"]), Path(runs[0].config["reports"])
    root = selected.folder
    runs = runs_under(root)
    if not runs:
        raise UsageError(
            f"report: got no ID and no settings, and there is no run under {root}; allowed: paper/artifact, an "
            "experiment, settings as for `sobench run -m`, or runs=DIR"
        )
    return runs, root, Path(value_of("reports", selected.overrides) or "reports")


def _words(selected: Selection, root: Path) -> str:
    """The command that makes the report again."""
    if selected.is_everything:
        return shlex.join(["sobench", "report", f"runs={root}"])
    experiment = [selected.experiment] if selected.experiment else []
    return shlex.join(["sobench", "reproduce", *experiment, *selecting(selected.overrides)])


def _name(selected: Selection, problem: Problem, *, alone: bool) -> str:
    """ "digits-mlp", "my_experiment", "my_experiment/digits-mlp" of several problems; "digits-mlp-cpu" with a budget"""
    name = problem.name
    if selected.experiment:
        name = selected.experiment if alone else f"{selected.experiment}/{name}"
    budget = problem.runs[0].config["budget"]["name"]
    return name if budget == "default" else f"{name}-{budget}"


def _folder(reports: Path, name: str, ids: set[str], *, anywhere: bool) -> Path:
    """The folder of a report of these runs: that of the same runs, else that of a part of them, else a free one.

    anywhere: the folder of the same runs may have any name, and not only this one with a number. A folder whose
    description was edited is left alone.
    """
    from sobench.report import again
    from sobench.report.writer import DESCRIPTION

    known: dict[Path, set[str]] = {}
    for number in count(1):
        folder = reports / (name if number == 1 else f"{name}-{number}")
        if not (folder / again.PROVENANCE).exists():
            break
        with suppress(Failure):
            known[folder] = again.replaceable_runs(folder)
    part = [of_report for of_report, own in known.items() if own and own <= ids]
    for file in sorted(reports.rglob(DESCRIPTION)) if anywhere else ():
        with suppress(Failure):
            known.setdefault(file.parent, again.replaceable_runs(file.parent))
    same = [of_report for of_report, own in known.items() if own == ids]
    return next(iter([*same, *part, folder]))
