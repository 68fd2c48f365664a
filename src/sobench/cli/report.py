"""`sobench report`: write the report of an artifact or of any runs. `sobench reproduce`: first run the missing runs."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

from sobench.cli.arguments import Selection, require_runs, selection
from sobench.cli.by_need import Asked, asked, make
from sobench.cli.console import console
from sobench.cli.default_report import make_and_write, write_default
from sobench.cli.reproduce_all import ALL, reproduce_all
from sobench.cli.until_decided import until_decided
from sobench.cli.writing import write_report
from sobench.config.registry import suggestion
from sobench.errors import Failure, UsageError
from sobench.system.text import parse_duration, plural


def report(args: argparse.Namespace) -> int:
    """Write the report of an artifact, or of any runs; with a flag, treat the reports in some folders."""
    if args.overview:
        return _overview([path for path in (args.id, *args.overrides) if path])
    if args.verify or args.again or args.withdraw is not None:
        return _written_reports(args)
    selected = selection([args.id, *args.overrides])
    if name := _artifact(selected):
        _write_reports({name: asked(name, selected.overrides)}, selected.overrides)
    else:
        _show(write_default(selected))
    return 0


def _artifact(selected: Selection) -> str | None:
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


def _written_reports(args: argparse.Namespace) -> int:
    """Verify, write again, or withdraw the reports in the folders that are given. Returns 1 if any is not as it should
    be."""
    from sobench.report import again

    given = [path for path in (args.id, *args.overrides) if path] or ([] if args.withdraw else ["reports"])
    if not given:
        raise UsageError("report --withdraw: got no folder, allowed: folders of reports")
    if args.withdraw is not None and not args.withdraw.strip():
        raise UsageError("report --withdraw: got an empty reason, allowed: a sentence that says why")
    folders, bad = again.folders(map(Path, given)), 0
    if args.withdraw:
        folders = [folder for folder in folders if again.has_verdicts(folder)]
    for folder in folders:
        lines = _treated(folder, args)
        bad += bool(lines)
        for line in lines:
            print(f"{folder}: {line}")
    done = "as their numbers say" if args.verify else "withdrawn" if args.withdraw else "written again"
    print(f"{plural(len(folders), 'report')}: {len(folders) - bad} {done}" + (f", {bad} not" if bad else ""))
    return 1 if bad else 0


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


def _overview(given: Sequence[str]) -> int:
    """Write the pages over all reports in a folder."""
    from sobench.report import overview

    if len(given) > 1:
        raise UsageError(f"report --overview: got {' '.join(given)}, allowed: one folder of reports")
    print(*overview.write(Path(given[0] if given else "reports")), sep="\n")
    return 0


def reproduce(args: argparse.Namespace) -> int:
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
    name, overrides = _artifact(selected), selected.overrides
    if name is None:
        if args.until_decided:
            raise UsageError("reproduce --until-decided: got runs without claims; allowed: an artifact with claims")
        code, pages = make_and_write(selected)
        _show(pages)
        return code
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
    _write_reports({**by_report, name: wanted}, overrides)
    return code


def _asked_if_any(name: str, overrides: Sequence[str]) -> Asked | None:
    """The runs of another report with these overrides; None if its experiment has no such cells."""
    try:
        return asked(name, overrides)
    except UsageError:
        return None


def _write_reports(by_report: Mapping[str, Asked], overrides: Sequence[str]) -> None:
    """Write each report, and show the last one."""
    pages = [write_report(name, its, overrides)[0] for name, its in by_report.items()]
    _show(pages[-1:], pages)


def _show(shown: Sequence[Path], pages: Sequence[Path] | None = None) -> None:
    """Show written reports on the terminal, print the paths of all pages, and the line about the claims at the end."""
    from sobench.report.again import report_of
    from sobench.report.terminal import claims_line, show

    for page in shown:
        show(report_of(page.parent), page.parent, console())
    print()
    for page in pages or shown:
        print(page)
    for page in shown:
        if line := claims_line(page.parent):
            print(line)
