"""`sobench report`: write the report of an artifact. `sobench reproduce`: first run its missing runs."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

from sobench.cli.by_need import Asked, asked, make
from sobench.cli.console import console
from sobench.cli.reproduce_all import ALL, reproduce_all
from sobench.cli.until_decided import until_decided
from sobench.cli.writing import folder_of, write_report
from sobench.errors import Failure, UsageError
from sobench.system.text import parse_duration, plural


def report(args: argparse.Namespace) -> int:
    """Write one report from the existing runs of its experiment; with a flag, treat the reports in some folders.

    Raises UsageError for no id, and for a folder without reports.
    """
    if args.overview:
        return _overview([path for path in (args.id, *args.overrides) if path])
    if args.verify or args.again or args.withdraw is not None:
        return _written_reports(args)
    if not args.id:
        raise UsageError("report: got no ID, allowed: paper/artifact, as `sobench list reports` prints it")
    _write_reports({args.id: asked(args.id, args.overrides)}, args.overrides)
    return 0


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
        folders = [folder for folder in folders if not again.is_tuning(folder)]  # which has no verdicts
    for folder in folders:
        if args.withdraw:
            again.withdraw(folder, args.withdraw)
            continue
        try:
            lines = again.differences(folder) if args.verify else again.remake(folder) or []
        except Failure as error:
            lines = [str(error)]
        bad += bool(lines)
        for line in lines:
            print(f"{folder}: {line}")
    done = "as their numbers say" if args.verify else "withdrawn" if args.withdraw else "written again"
    print(f"{plural(len(folders), 'report')}: {len(folders) - bad} {done}" + (f", {bad} not" if bad else ""))
    return 1 if bad else 0


def _overview(given: Sequence[str]) -> int:
    """Write the page over all reports in a folder."""
    from sobench.report import overview

    if len(given) > 1:
        raise UsageError(f"report --overview: got {' '.join(given)}, allowed: one folder of reports")
    print(overview.write(Path(given[0] if given else "reports")))
    return 0


def reproduce(args: argparse.Namespace) -> int:
    """Run the missing runs of the experiment, then write its report, and those of the paper that need no other runs.

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
    if args.until_decided:
        code, wanted = until_decided(args.id, args.overrides, limit)
    else:
        wanted = asked(args.id, args.overrides)
        code = make(args.id, wanted)
    ids = {run.id for run in wanted.declared}
    by_report = {}
    for name in sorted(reports()):
        if name != args.id and name.split("/")[0] == args.id.split("/")[0]:
            other = _asked_if_any(name, args.overrides)
            if other and {run.id for run in other.declared} <= ids:
                by_report[name] = other
    _write_reports({**by_report, args.id: wanted}, args.overrides)
    return code


def _asked_if_any(name: str, overrides: Sequence[str]) -> Asked | None:
    """The runs of another report with these overrides; None if its experiment has no such cells."""
    try:
        return asked(name, overrides)
    except UsageError:
        return None


def _write_reports(by_report: Mapping[str, Asked], overrides: Sequence[str]) -> None:
    """Write each report, show the last one on the terminal, and print the paths of the pages."""
    from sobench.report import read
    from sobench.report.terminal import show

    written = [write_report(name, its, overrides)[0] for name, its in by_report.items()]
    last, its = list(by_report.items())[-1]
    show(read(last).title, folder_of(last, its.declared, overrides), console())
    print()
    for page in written:
        print(page)
