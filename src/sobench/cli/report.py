"""`sobench report`: write the report of an artifact or of any runs. `sobench reproduce`: first run the missing runs."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from sobench.cli.answer import Answer, shown
from sobench.cli.arguments import Selection, require_runs, selection
from sobench.cli.by_need import Asked, asked, make
from sobench.cli.console import console
from sobench.cli.default_report import make_and_write, write_default
from sobench.cli.report_documents import of_pages
from sobench.cli.reproduce_all import ALL, reproduce_all
from sobench.cli.until_decided import until_decided
from sobench.cli.writing import write_report
from sobench.config.registry import suggestion
from sobench.errors import Failure, UsageError
from sobench.system.text import parse_duration, plural


def report(args: argparse.Namespace) -> Answer:
    """Write the report of an artifact, or of any runs; with a flag, treat the reports in some folders."""
    if args.overview:
        return _overview([path for path in (args.id, *args.overrides) if path])
    if args.verify or args.again or args.withdraw is not None:
        return _written_reports(args)
    selected = selection([args.id, *args.overrides])
    if name := artifact(selected):
        return _written({name: asked(name, selected.overrides)}, selected.overrides)
    return _answer(write_default(selected))


def artifact(selected: Selection) -> str | None:
    """The artifact that is selected; None for an experiment without a description of a report, and for settings alone.

    Raises UsageError for a name that is neither an artifact nor an experiment.
    """
    from sobench.config.files import members
    from sobench.report import reports

    name, known = selected.experiment, reports()
    if name in known:
        return name
    experiments = members("experiment")
    if name is not None and name not in experiments:
        known_names = {*known, *experiments}
        raise UsageError(f"report: got {name!r}, {suggestion(name, known_names, 'sobench list reports')}")
    return None


def _written_reports(args: argparse.Namespace) -> Answer:
    """Verify, write again, or withdraw the reports in the folders that are given. The exit code is 1 if any is not as
    it should be."""
    from sobench.report import again

    given = [path for path in (args.id, *args.overrides) if path] or ([] if args.withdraw else ["reports"])
    if not given:
        raise UsageError("report --withdraw: got no folder, allowed: folders of reports")
    if args.withdraw is not None and not args.withdraw.strip():
        raise UsageError("report --withdraw: got an empty reason, allowed: a sentence that says why")
    folders, wrong = again.folders(map(Path, given)), {}
    if args.withdraw:
        folders = [folder for folder in folders if again.has_verdicts(folder)]
    for folder in folders:
        wrong[folder] = _treated(folder, args)
        for line in wrong[folder]:
            print(f"{folder}: {line}")
    bad = sum(map(bool, wrong.values()))
    done = "as their numbers say" if args.verify else "withdrawn" if args.withdraw else "written again"
    text = f"{plural(len(folders), 'report')}: {len(folders) - bad} {done}" + (f", {bad} not" if bad else "")
    return Answer(partial(_treated_document, wrong), shown(text), 1 if bad else 0)


def _treated(folder: Path, args: argparse.Namespace) -> list[str]:
    """Treat one written report as the flags say. Returns a line for each thing that is not as it should be."""
    from sobench.report import again

    try:
        if args.verify:
            return again.differences(folder)
        if args.withdraw:
            again.withdraw(folder, args.withdraw)
        else:
            again.remake(folder)
    except Failure as error:
        return [str(error)]
    return []


def _treated_document(wrong: Mapping[Path, Sequence[str]]) -> dict[str, Any]:
    return {"reports": [{"folder": folder, "ok": not lines, "wrong": lines} for folder, lines in wrong.items()]}


def _overview(given: Sequence[str]) -> Answer:
    """Write the pages over all reports in a folder."""
    from sobench.report import overview

    if len(given) > 1:
        raise UsageError(f"report --overview: got {' '.join(given)}, allowed: one folder of reports")
    written = overview.write(Path(given[0] if given else "reports"))
    return Answer(partial(dict, pages=written), shown(*map(str, written)))


def reproduce(args: argparse.Namespace) -> Answer | int:
    """Run the missing runs of an artifact, then write its report, and those of the paper that need no other runs; or
    those of any settings, and their report.

    `all` stands for every artifact, see `sobench.cli.reproduce_all`.
    """
    from sobench.report import reports

    if args.budget and not args.until_decided and args.id != ALL:
        raise UsageError(f"--budget: got {args.budget!r} alone; allowed: with --until-decided, and for `reproduce all`")
    limit = parse_duration("--budget", args.budget) if args.budget else None
    if args.id == ALL:
        if args.until_decided:
            raise UsageError("reproduce all: got --until-decided, allowed: one artifact with it")
        return reproduce_all(args.overrides, limit)
    selected = require_runs(selection([args.id, *args.overrides]), "reproduce")
    name, overrides = artifact(selected), selected.overrides
    if name is None:
        if args.until_decided:
            raise UsageError("reproduce --until-decided: got runs without claims; allowed: an artifact with claims")
        code, pages = make_and_write(selected)
        return _answer(pages, code=code)
    if args.until_decided:
        code, wanted = until_decided(name, overrides, limit)
    else:
        wanted = asked(name, overrides)
        code = make(wanted)
    ids = {run.id for run in wanted.declared}
    by_report = {}
    for other in sorted(reports()):
        if other != name and other.split("/")[0] == name.split("/")[0]:
            its = _asked_if_any(other, overrides)
            if its and {run.id for run in its.declared} <= ids:
                by_report[other] = its
    return _written({**by_report, name: wanted}, overrides, code)


def _asked_if_any(name: str, overrides: Sequence[str]) -> Asked | None:
    """The runs of another report with these overrides; None if its experiment has no such cells."""
    try:
        return asked(name, overrides)
    except UsageError:
        return None


def _written(by_report: Mapping[str, Asked], overrides: Sequence[str], code: int = 0) -> Answer:
    """Write each report; the text shows the last one."""
    pages = [write_report(name, its, overrides)[0] for name, its in by_report.items()]
    return _answer(pages, pages[-1:], code)


def _answer(pages: Sequence[Path], to_show: Sequence[Path] | None = None, code: int = 0) -> Answer:
    """All written reports for programs; as text those to show (default: all)."""
    return Answer(partial(of_pages, pages), partial(_show, to_show or pages, pages), code)


def _show(to_show: Sequence[Path], pages: Sequence[Path]) -> None:
    """Show written reports on the terminal, print the paths of all pages, and the line about the claims at the end."""
    from sobench.report.again import report_of
    from sobench.report.terminal import claims_line, show

    for page in to_show:
        show(report_of(page.parent), page.parent, console())
    print()
    for page in pages:
        print(page)
    for page in to_show:
        if line := claims_line(page.parent):
            print(line)
