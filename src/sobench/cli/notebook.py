"""`sobench.summarize` and `sobench.compare`: what the commands `report` and `compare` find, as objects of a notebook.

They take the words of the command line, or the keyword arguments of `sobench.run`. They write no report.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sobench.cli.arguments import selection
from sobench.execution.inline import as_words

if TYPE_CHECKING:
    from sobench.report.compared import Comparison
    from sobench.report.summary import ReportSummary


def summarize(*words: str, settings: Mapping[str, Any] | None = None, **groups: Any) -> ReportSummary:
    """The report of runs that exist: the best setting of each optimizer, a table, a figure.

        sobench.summarize(runs="runs")                                     all runs in a folder
        sobench.summarize(dataset="digits", optimizer=["sgd", "kfac"])     the runs of a sweep, as for `sobench.run`
        sobench.summarize("practical/table-3", "budget=cpu")               an artifact, with its claims

    words, settings, groups: as for `sobench.run`; a word may also name an artifact or an experiment. Raises UsageError
    if no run has a result, and for runs of several problems.
    """
    from sobench.cli.by_need import asked, root_of
    from sobench.cli.default_report import evidence_of
    from sobench.cli.report import artifact
    from sobench.report import columns, read
    from sobench.report.evidence import Evidence
    from sobench.report.summary import ReportSummary
    from sobench.report.writer import require_finished
    from sobench.results.collection import collect

    selected = selection([*words, *as_words(groups, settings)])
    name = artifact(selected)
    if name is None:
        return ReportSummary(evidence_of(selected))
    report, wanted = read(name), asked(name, selected.overrides)
    root = root_of(wanted.declared)
    results = collect(wanted.runs, root, columns.of(report))
    require_finished(name, results, root, f"sobench reproduce {' '.join(selected.words)}")
    return ReportSummary(Evidence(report, results, wanted.looks))


def compare(
    *words: str | Path,
    suite: str | None = None,
    seeds: int | None = None,
    run: bool = False,
    baseline: str | None = None,
    target: str | None = None,
    axis: str | Iterable[str] | None = None,
    metric: str | None = None,
    tuning_seeds: int | Iterable[int] | None = None,
    settings: Mapping[str, Any] | None = None,
    **groups: Any,
) -> Comparison:
    """Compare methods over one problem or many, as `sobench compare` does.

        sobench.compare(runs="runs")                                             all runs in a folder
        sobench.compare("adamw,kfac,mine.py:Mine", suite="digits", run=True)     a suite; makes the missing runs

    words: optimizers, an experiment, a folder of runs, or settings. run: make the missing runs first, one after the
    other in this process. axis: names of axes, as "step,work" or a list. settings, groups: as for `sobench.run`. The
    other arguments are the options of the command. Raises UsageError as the command, before any run is made.
    """
    from sobench.cli import compare as command
    from sobench.cli.by_need import has_result
    from sobench.execution import inline
    from sobench.report.compared import Comparison
    from sobench.report.comparison import study as studies
    from sobench.report.comparison.page import page

    args = argparse.Namespace(
        what=None,
        overrides=[*map(str, words), *as_words(groups, settings)],
        suite=suite,
        seeds=seeds,
        run=run,
        baseline=baseline,
        target=target,
        axis=_joined(axis),
        metric=metric,
        tuning_seeds=_joined(tuning_seeds),
        name=None,
    )
    request, options, problems = command.understood(args)
    if run and (left := [one for one in problems.runs if not has_result(one)]):
        inline.make(left)
    _, study = command.study_of(args, request, options, problems)
    as_written = studies.read(studies.to_json(study), studies.to_csv(study))  # the command's numbers, to the last digit
    return Comparison(page(as_written))


def _joined(given: object) -> str | None:
    """ "0,1" for [0, 1], "0" for 0"""
    if given is None or isinstance(given, str):
        return given
    return ",".join(map(str, given)) if isinstance(given, Iterable) else str(given)
