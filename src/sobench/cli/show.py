"""`sobench show NAME`: all about an optimizer, a data set, a model, a loss, an experiment, a report or another choice.

A name of several things, as an experiment and its report, shows each. No torch, unless a plug-in has to be imported.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from sobench.cli.answer import Answer, shown
from sobench.cli.arguments import selection
from sobench.cli.by_need import has_result, root_of
from sobench.cli.data import size_of, state_of
from sobench.cli.reproduce_all import Prices
from sobench.config import by_path, files, groups, parity, registry, signature, suites
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

Record = dict[str, Any]
"""What is known of one thing, by the keys of docs/json.md; `kind` is one of them."""


def show(args: argparse.Namespace) -> Answer:
    """All about each thing of this name. Raises UsageError if there is none."""
    return about(args.name, files.LISTED)


def about(name: str, kinds: Sequence[str]) -> Answer:
    """All about each thing of this name among the kinds. Raises UsageError if there is none."""
    found = described(name, kinds)
    text = "\n\n".join("\n".join(_lines(record)) for record in found)
    return Answer(partial(dict, name=name, found=found), shown(text))


def described(name: str, kinds: Sequence[str]) -> list[Record]:
    """A record for each thing of this name among the kinds. Raises UsageError if there is none."""
    parts = [kind for kind in kinds if key_of(kind) in registry.KINDS]
    if parts and by_path.is_path(name):
        kind = parts[0] if len(parts) == 1 else signature.group_of(registry.load(parts[0], name))
        return [_group(kind, by_path.portable(name))]
    found = [_ABOUT.get(kind, _group)(kind, name) for kind in kinds if name in names(kind)]
    if not found:
        known = {known for kind in kinds for known in names(kind)}
        listing = f"sobench list {either(kinds) if len(kinds) < len(files.LISTED) else 'KIND'}"
        what = kinds[0] if len(kinds) == 1 else "show"
        allowed = registry.suggestion(name, known, listing) if known else f"allowed: {by_path.FORM}"
        raise UsageError(f"{what}: got {name!r}, {allowed}")
    return found


def _lines(record: Record) -> Iterator[str]:
    """The lines about one thing."""
    return _TEXTS.get(record["kind"], _group_lines)(record)


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


def _group(kind: str, name: str) -> Record:
    """The member of a config group: what it is, its paper, and its settings."""
    group = key_of(kind)
    base = preset_of(group, name)
    entry = registry.find(registry.KINDS[group], base or name) if group in registry.KINDS else None
    presets = [other for other in files.members(group) if preset_of(group, other) == name] if group != "loss" else []
    return {
        "kind": group,
        "name": name,
        "preset_of": base,
        "about": files.about(f"{group}/{name}") or (registry.summary(entry) if entry else ""),
        "paper": (entry and _paper(registry.documentation(entry))) or None,
        "code": entry.value if entry else None,
        "origin": (registry.origin(entry) or None) if entry and not registry.is_ours(entry) else None,
        "presets": presets,
        "data": _data(files.group_defaults(group, name)) if group == "dataset" else [],
        "settings": _settings(group, name) if group in files.GROUPS else [],
        "parameter_groups": _parameter_groups(name) if group == "optimizer" else [],
    }


def _group_lines(record: Record) -> Iterator[str]:
    group, base = record["kind"], record["preset_of"]
    yield f"{record['name']}: {group}" + (f", a preset of {base}" if base else "")
    if record["about"]:
        yield f"  {record['about']}"
    if record["paper"]:
        yield f"  paper: {record['paper']}"
    if record["code"]:
        yield f"  code: {record['code']}" + (f" ({record['origin']})" if record["origin"] else "")
    if record["presets"]:
        yield f"  presets: {', '.join(record['presets'])}"
    yield from _data_lines(record["data"])
    if record["settings"]:
        yield ""
        yield from (f"  {line}" for line in table([HEAD, *map(_row, record["settings"])]))
    if group == "optimizer":
        yield f"  {GROUPS_KEY}: {GROUPS_RULE.allowed}; see docs/optimizers.md"
    yield from (f"    by default {parameter_group(stated)}" for stated in record["parameter_groups"])


def _paper(documentation: str) -> str:
    """The citation with which the second paragraph of a method's documentation begins, "" if it does not."""
    second = " ".join(documentation.split("\n\n")[1:2]).split()
    sentence = re.split(r"(?<![A-Z])\.\s", " ".join(second))[0].rstrip(".:")
    return sentence if re.match(r"[A-Z]\. ", sentence) else ""


def settings(group: str, name: str) -> list[tuple[str, str, str, str]]:
    """The settings of a member of a config group, in words: key, default, allowed values, and meaning."""
    return [_row(setting) for setting in _settings(group, name)]


def _settings(group: str, name: str) -> list[Record]:
    """The settings: key, default, allowed values, and meaning."""
    base = preset_of(group, name)
    meanings = {**files.comments(f"{group}/{base}"), **files.comments(f"{group}/{name}")}
    return [
        {
            "key": f"{group}.{key}",
            "default": default,
            "allowed": rule_of(group, base or name, key).allowed,
            "meaning": meanings.get(key, ""),
        }
        for key, default in files.group_defaults(group, name).items()
        if key != "name"
    ]


def _row(setting: Record) -> tuple[str, str, str, str]:
    """A setting as a line of a table with the columns HEAD."""
    return setting["key"], _text(setting["default"]), setting["allowed"], setting["meaning"]


def _parameter_groups(name: str) -> list[Record]:
    """The parameter groups that the file of an optimizer states."""
    file = files.find(f"optimizer/{name}")
    return list(groups.groups_of(files.read(file))) if file else []


def _text(value: Any) -> str:
    if value == "???":
        return "must be given"
    return value if isinstance(value, str) else json.dumps(value)


# Data sets


def _data(dataset: dict[str, Any]) -> list[Record]:
    """Each source of a data set: its size and shape, and whether it is at hand or how to get it."""
    store, found = Store.default(), []
    for name in sources(dataset, store):
        source = store.source(name)
        found.append(
            {
                "name": name,
                "about": source.about,
                "rows": list(source.rows),
                "features": source.features or None,
                "size": size_of(source) if source.files and source.bytes else None,
                "at_hand": _is_at_hand(store, source),
                "place": _place(store, source),
            }
        )
    return found


def _data_lines(data: Sequence[Record]) -> Iterator[str]:
    for source in data:
        rows = " / ".join(f"{number:,}" for number in source["rows"])
        size = f", {rows} training / test rows" if rows else ""
        shape = f", {source['features']} features" if source["features"] else ""
        bytes_ = f", {source['size']}" if source["size"] else ""
        yield f"  data {source['name']}: {source['about']}{size}{shape}{bytes_}"
        yield f"    {source['place']}"


def _is_at_hand(store: Store, source: Source) -> bool:
    return not (source.files or source.folders) or store.at_hand(source.name)


def _place(store: Store, source: Source) -> str:
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


def _experiment(_: str, name: str) -> Record:
    """The experiment's cells, seeds, data, budgets and reports."""
    from sobench.report import read, reports

    runs = selection([name]).runs()
    by_data = {json.dumps(run.config["dataset"], sort_keys=True): run.config["dataset"] for run in runs}
    return {
        "kind": "experiment",
        "name": name,
        "about": files.about(f"experiment/{name}"),
        "runs": len(runs),
        "cells": list(dict.fromkeys(_cell(run) for run in runs)),
        "seeds": sorted({run.seed for run in runs}),
        "data": [source for dataset in by_data.values() for source in _data(dataset)],
        "budgets": _budgets(name, runs),
        "reports": [{"name": report, "claims": len(read(report).claims)} for report in reports(name)],
    }


def _experiment_lines(record: Record) -> Iterator[str]:
    name, cells = record["name"], record["cells"]
    yield f"{name}: experiment"
    yield f"  {record['about']}"
    seeds = format_ranges(record["seeds"])
    yield f"  {plural(record['runs'], 'run')}: {plural(len(cells), 'cell')}, seeds {seeds}"
    yield from (f"    {cell}" for cell in cells[:MOST])
    if cells[MOST:]:
        yield f"    and {len(cells) - MOST} more"
    yield from _data_lines(record["data"])
    rows = [("budget", "limit", "done", "left", "time left, run sequentially")]
    for budget in record["budgets"]:
        limit = ", ".join(f"{value:g} {key.replace('_', ' ')}" for key, value in budget["limits"].items())
        rows.append((budget["name"], limit, str(budget["done"]), str(budget["left"]), _time_left(name, budget)))
    if rows[1:]:
        yield from (f"  {line}" for line in table(rows, align="llrrl"))
    for report in record["reports"]:
        yield f"  report {report['name']}: {plural(report['claims'], 'claim')}"


def _time_left(experiment: str, budget: Record) -> str:
    unknown = budget["unknown"]
    time = f"about {format_duration(budget['seconds'])}" if budget["left"] > unknown else ""
    if unknown:
        plan = f"sobench plan {experiment} budget={budget['name']}"
        time += f"{', and ' if time else ''}{unknown} unknown: {plan}"
    return time


def _cell(run: Run) -> str:
    """The overrides that make a cell."""
    words = [word for word in run.overrides if not re.match(r"(seed|experiment)=", word)]
    return " ".join(words) or "its only cell"


def _budgets(name: str, runs: Sequence[Run]) -> list[Record]:
    """The experiment's budgets: their limits, and what is done and left of the runs in the folder.

    seconds: of the runs left whose time is known; unknown: the number of the others.
    """
    found = []
    for budget, limits in runs[0].config["budgets"].items():
        own = selection([name, f"budget={budget}"]).runs()
        left = [run for run in own if not has_result(run)]
        prices = Prices(root_of(own))
        known = [seconds for run in left if (seconds := prices.kept(run)) is not None]
        found.append(
            {
                "name": budget,
                "limits": {key: value for key, value in limits.items() if value is not None},
                "done": len(own) - len(left),
                "left": len(left),
                "seconds": sum(known),
                "unknown": len(left) - len(known),
            }
        )
    return found


def _suite(_: str, name: str) -> Record:
    """The suite's problems: experiment, settings, and when a run has solved it."""
    return {
        "kind": "suite",
        "name": name,
        "about": files.about(f"suite/{name}"),
        "problems": [
            {
                "name": problem.name,
                "experiment": problem.experiment,
                "settings": list(problem.settings),
                "metric": problem.metric,
                "target": problem.target,
            }
            for problem in suites.read(name).problems
        ],
    }


def _suite_lines(record: Record) -> Iterator[str]:
    problems = record["problems"]
    yield f"{record['name']}: suite of {plural(len(problems), 'problem')} for `sobench compare`"
    yield f"  {record['about']}"
    rows = [("problem", "experiment", "settings", "target")]
    for problem in problems:
        target = "" if problem["target"] is None else f" {problem['target']:g}"
        text = f"{problem['metric'] or ''}{target}"
        rows.append((problem["name"], problem["experiment"], " ".join(problem["settings"]), text))
    yield from (f"  {line}" for line in table(rows))


def _report(_: str, name: str) -> Record:
    """The report's title, source and claims, with the answers of what is written in ./reports."""
    from sobench.report import overview, read

    report = read(name)
    return {
        "kind": "report",
        "name": name,
        "source": report.source,
        "title": report.title,
        "experiment": report.experiment,
        "methods": [method.label for method in report.methods.values()],
        "answers": overview.described(Path("reports")).get(name),
        "claims": [{"id": claim.id, "text": claim.text, "source": claim.source} for claim in report.claims],
    }


def _report_lines(record: Record) -> Iterator[str]:
    yield f"{record['name']}: report, from {record['source']}"
    yield f"  {record['title']}"
    yield f"  experiment: {record['experiment']}"
    yield f"  methods: {', '.join(record['methods'])}"
    yield f"  answers in reports/: {record['answers'] or 'none'}"
    for claim in record["claims"]:
        yield f"  claim {claim['id']}: {claim['text']} ({claim['source']})"


def _parity(_: str, name: str) -> Record:
    """The implementations of an algorithm that `sobench parity` compares, and the settings that they share."""
    algorithm = parity.read(name)
    return {
        "kind": "parity",
        "name": name,
        "about": files.about(f"{parity.FOLDER}/{name}"),
        "settings": dict(algorithm.settings),
        "implementations": [
            {"label": one.label, "name": one.name, "requirement": one.requirement, "installed": one.is_installed}
            for one in algorithm.implementations
        ],
    }


def _parity_lines(record: Record) -> Iterator[str]:
    found = record["implementations"]
    yield f"{record['name']}: parity, {plural(len(found), 'implementation')} for `sobench parity {record['name']}`"
    yield f"  {record['about']}"
    yield f"  shared settings: {', '.join(f'{key}={value}' for key, value in record['settings'].items())}"
    rows = [("implementation", "object", "package")]
    for one in found:
        state = "" if one["installed"] else ", not installed"
        rows.append((one["label"], one["name"], f"{one['requirement']}{state}"))
    yield from (f"  {line}" for line in table(rows))


_ABOUT: dict[str, Callable[[str, str], Record]] = {
    "experiments": _experiment,
    "suites": _suite,
    "reports": _report,
    "parity": _parity,
}
_TEXTS: dict[str, Callable[[Record], Iterator[str]]] = {
    "experiment": _experiment_lines,
    "suite": _suite_lines,
    "report": _report_lines,
    "parity": _parity_lines,
}
