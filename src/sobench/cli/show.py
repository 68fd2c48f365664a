"""`sobench show NAME`: all about an optimizer, a data set, a model, a loss, an experiment, a report or another choice.

A name of several things, as an experiment and its report, shows each. No torch, unless a plug-in has to be imported.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from sobench.cli.arguments import selection
from sobench.cli.by_need import has_result, root_of
from sobench.cli.data import size_of, state_of
from sobench.cli.reproduce_all import Prices
from sobench.config import by_path, files, groups, registry, signature, suites
from sobench.config.names import parameter_group
from sobench.config.run import Run
from sobench.config.validation import GROUPS_KEY, GROUPS_RULE, rule_of
from sobench.data import Store, sources
from sobench.data.sources import Source
from sobench.errors import UsageError
from sobench.system.text import either, format_duration, format_ranges, plural, table

MOST = 40
"""Cells of an experiment that are listed."""
HEAD = ("setting", "default", "allowed", "meaning")
"""The columns of a table of settings."""


def show(args: argparse.Namespace) -> int:
    """Print a block of lines for each thing of this name. Raises UsageError if there is none."""
    print(*described(args.name, files.LISTED), sep="\n")
    return 0


def described(name: str, kinds: Sequence[str]) -> list[str]:
    """The lines about everything of this name among the kinds. Raises UsageError if there is none."""
    parts = [kind for kind in kinds if key_of(kind) in registry.KINDS]
    if parts and by_path.is_path(name):
        kind = parts[0] if len(parts) == 1 else signature.group_of(registry.load(parts[0], name))
        return list(_group(kind, by_path.portable(name)))
    blocks = [list(_ABOUT.get(kind, _group)(kind, name)) for kind in kinds if name in names(kind)]
    if not blocks:
        known = {known for kind in kinds for known in names(kind)}
        listing = f"sobench list {either(kinds) if len(kinds) < len(files.LISTED) else 'KIND'}"
        what = kinds[0] if len(kinds) == 1 else "show"
        raise UsageError(f"{what}: got {name!r}, {registry.suggestion(name, known, listing)}")
    return "\n\n".join("\n".join(block) for block in blocks).splitlines()


def names(kind: str) -> list[str]:
    """What can be chosen of one kind."""
    if kind == "reports":
        from sobench.report import reports

        return reports()
    return sorted({*registry.members(key_of(kind)), *files.members(key_of(kind))})


def preset_of(group: str, name: str) -> str | None:
    """The name of what a member of a config group is a preset of; None for a member of its own."""
    file = files.find(f"{group}/{name}")
    base = files.read(file).get("name", name) if file else name
    return None if base == name else base


def key_of(kind: str) -> str:
    """The config group of a kind: "optimizer" for "optimizers"."""
    return {plural: key for key, plural in registry.KINDS.items()}.get(kind, kind.removesuffix("s"))


# Members of config groups


def _group(kind: str, name: str) -> Iterator[str]:
    """The member of a config group: what it is, its paper, and its settings."""
    group = key_of(kind)
    base = preset_of(group, name)
    entry = registry.find(registry.KINDS[group], base or name) if group in registry.KINDS else None
    yield f"{name}: {group}" + (f", a preset of {base}" if base else "")
    if about := files.about(f"{group}/{name}") or (registry.summary(entry) if entry else ""):
        yield f"  {about}"
    if entry:
        paper = _paper(registry.documentation(entry))
        yield from [f"  paper: {paper}"] if paper else []
        origin = registry.origin(entry)
        yield f"  code: {entry.value}" + ("" if registry.is_ours(entry) or not origin else f" ({origin})")
    presets = [other for other in files.members(group) if preset_of(group, other) == name] if group != "loss" else []
    if presets:
        yield f"  presets: {', '.join(presets)}"
    if group == "dataset":
        yield from _data(files.group_defaults(group, name))
    if group in files.GROUPS:
        yield from _settings(group, name)


def _paper(documentation: str) -> str:
    """The citation with which the second paragraph of a method's documentation begins, "" if it does not."""
    second = " ".join(documentation.split("\n\n")[1:2]).split()
    sentence = re.split(r"(?<![A-Z])\.\s", " ".join(second))[0].rstrip(".:")
    return sentence if re.match(r"[A-Z]\. ", sentence) else ""


def settings(group: str, name: str) -> list[tuple[str, str, str, str]]:
    """The settings of a member of a config group: key, default, allowed values, and meaning."""
    base = preset_of(group, name)
    meanings = {**files.comments(f"{group}/{base}"), **files.comments(f"{group}/{name}")}
    return [
        (f"{group}.{key}", _text(default), rule_of(group, base or name, key).allowed, meanings.get(key, ""))
        for key, default in files.group_defaults(group, name).items()
        if key != "name"
    ]


def _settings(group: str, name: str) -> Iterator[str]:
    """A table of the settings."""
    rows = settings(group, name)
    if rows:
        yield ""
        yield from (f"  {line}" for line in table([HEAD, *rows]))
    if group == "optimizer":
        yield f"  {GROUPS_KEY}: {GROUPS_RULE.allowed}; see docs/optimizers.md"
        file = files.find(f"{group}/{name}")
        for stated in groups.groups_of(files.read(file)) if file else ():
            yield f"    by default {parameter_group(stated)}"


def _text(value: Any) -> str:
    if value == "???":
        return "must be given"
    return value if isinstance(value, str) else json.dumps(value)


# Data sets


def _data(dataset: dict[str, Any]) -> Iterator[str]:
    """A line for each source of a data set: its size and shape, and whether it is at hand or how to get it."""
    store = Store.default()
    for name in sources(dataset, store):
        source = store.source(name)
        rows = " / ".join(f"{number:,}" for number in source.rows)
        size = f", {rows} training / test rows" if rows else ""
        shape = f", {source.features} features" if source.features else ""
        bytes_ = f", {size_of(source)}" if source.files and source.bytes else ""
        yield f"  data {name}: {source.about}{size}{shape}{bytes_}"
        yield f"    {_at_hand(store, source)}"


def _at_hand(store: Store, source: Source) -> str:
    """ "at hand: FOLDER", or how to get it."""
    found, where = state_of(store, source)
    if not source.files and not source.folders:
        return source.where
    if store.at_hand(source.name):
        return f"at hand: {where or source.where}" + (f" ({found})" if found else "")
    if source.urls:
        return f"not at hand: sobench data fetch {source.name}; from {', '.join(source.urls)}"
    return f"not at hand: {source.manual or source.where}"


# Experiments and reports


def _experiment(_: str, name: str) -> Iterator[str]:
    """The experiment's cells, seeds, data, budgets and reports."""
    from sobench.report import read, reports

    runs = selection([name]).runs()
    yield f"{name}: experiment"
    yield f"  {files.about(f'experiment/{name}')}"
    cells = list(dict.fromkeys(_cell(run) for run in runs))
    seeds = format_ranges(run.seed for run in runs)
    yield f"  {plural(len(runs), 'run')}: {plural(len(cells), 'cell')}, seeds {seeds}"
    yield from (f"    {cell}" for cell in cells[:MOST])
    if cells[MOST:]:
        yield f"    and {len(cells) - MOST} more"
    for dataset in {json.dumps(run.config["dataset"], sort_keys=True): run.config["dataset"] for run in runs}.values():
        yield from _data(dataset)
    yield from _budgets(name, runs)
    for report in reports(name):
        yield f"  report {report}: {plural(len(read(report).claims), 'claim')}"


def _cell(run: Run) -> str:
    """The overrides that make a cell."""
    words = [word for word in run.overrides if not re.match(r"(seed|experiment)=", word)]
    return " ".join(words) or "its only cell"


def _budgets(name: str, runs: Sequence[Run]) -> Iterator[str]:
    """A table of the experiment's budgets: their limits, and what is done and left of the runs in the folder."""
    rows = [("budget", "limit", "done", "left", "time left, run sequentially")]
    for budget, limits in runs[0].config["budgets"].items():
        own = selection([name, f"budget={budget}"]).runs()
        left = [run for run in own if not has_result(run)]
        prices = Prices(root_of(own))
        known = [seconds for run in left if (seconds := prices.kept(run)) is not None]
        unknown = len(left) - len(known)
        time = f"about {format_duration(sum(known))}" if known else ""
        if unknown:
            time += f"{', and ' if known else ''}{unknown} unknown: sobench plan {name} budget={budget}"
        limit = ", ".join(f"{value:g} {key.replace('_', ' ')}" for key, value in limits.items() if value is not None)
        rows.append((budget, limit, str(len(own) - len(left)), str(len(left)), time))
    if rows[1:]:
        yield from (f"  {line}" for line in table(rows, align="llrrl"))


def _suite(_: str, name: str) -> Iterator[str]:
    """The suite's problems: experiment, settings, and when a run has solved it."""
    suite = suites.read(name)
    yield f"{name}: suite of {plural(len(suite.problems), 'problem')} for `sobench compare`"
    yield f"  {files.about(f'suite/{name}')}"
    rows = [("problem", "experiment", "settings", "target")]
    for problem in suite.problems:
        target = "" if problem.target is None else f" {problem.target:g}"
        rows.append((problem.name, problem.experiment, " ".join(problem.settings), f"{problem.metric or ''}{target}"))
    yield from (f"  {line}" for line in table(rows))


def _report(_: str, name: str) -> Iterator[str]:
    """The report's title, source and claims, with the answers of what is written in ./reports."""
    from sobench.report import overview, read

    report = read(name)
    yield f"{name}: report, from {report.source}"
    yield f"  {report.title}"
    yield f"  experiment: {report.experiment}"
    yield f"  methods: {', '.join(method.label for method in report.methods.values())}"
    yield f"  answers in reports/: {overview.described(Path('reports')).get(name, 'none')}"
    for claim in report.claims:
        yield f"  claim {claim.id}: {claim.text} ({claim.source})"


_ABOUT: dict[str, Callable[[str, str], Iterator[str]]] = {
    "experiments": _experiment,
    "suites": _suite,
    "reports": _report,
}
