"""The provenance of a report: its runs, the code and versions that made them, data, budgets and seeds."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib import metadata
from itertools import groupby
from typing import Any

from sobench.config.files import NOT_IDENTITY
from sobench.config.run import Run
from sobench.report import data_sets, origins
from sobench.report.evidence import Evidence
from sobench.report.schema.panels import Panel
from sobench.results.collection import Results
from sobench.results.record import MEASURED
from sobench.results.row_table import Table
from sobench.results.state import CONTENDED, KEEPS, QUIET, SHARED, State
from sobench.system.text import plural

OF_SUMMARY = ("converged", "work", "process_seconds", "warm_start_seconds", "shared", "timing", *MEASURED)
"""What a report needs of a run's summary.json, besides the state."""
BY_NEED = "--until-decided"
"""The option of a command whose seeds are added by need."""
_VERSIONS = ("sobench", "python", "torch", "numpy", "platform", "device", "device_name", "threads", "commit")


def provenance(evidence: Evidence, again: str, settings: Sequence[str] | None = ()) -> dict[str, Any]:
    """The provenance as plain data. The same runs give the same provenance: it does not contain the time of the report.

    again: the command that makes the report. settings: those of the command line that asked for the runs; None if they
    are not known.
    """
    results, report = evidence.results, evidence.report
    environments = {run.id: results.environments.get(run.id, {}) for run in results.runs}
    configs = [run.config for run in {run.cell: run for run in results.runs}.values()]
    common, cells = _settings(results.runs)
    sources = {} if settings is None else origins.origins(results.runs, report.experiment, settings)
    return {
        "report": report.id,
        "source": report.source,
        "experiment": report.experiment,
        "command": again,
        "generator": {"sobench": version()},
        "data": sorted({data_sets.named(config.get("dataset")) for config in configs}),
        "data_sets": data_sets.data_sets(results.runs, environments),
        "budgets": _distinct(_budget(config) for config in configs),
        "environments": {key: _distinct(env.get(key) for env in environments.values() if env) for key in _VERSIONS},
        "seeds": {
            "found": sum(state.status == "done" for state in results.states.values()),
            "expected": len(results.runs),
        },
        **({"looks": {"first": evidence.looks.first}} if evidence.looks else {}),
        "states": dict(sorted(Counter(state.status for state in results.states.values()).items())),
        "timing": timing(evidence),
        "timing_unknown": sum(_timing_unknown(state) for state in results.states.values()),
        "cuts": _cuts(evidence),
        "plugins": _distinct(env.get("plugins") for env in environments.values()),
        "settings": common,
        "cells": {cell: own | sources.get(cell, {}) for cell, own in cells.items()},
        "runs": [_entry(evidence, run, environments[run.id]) for run in results.runs],
    }


def as_json(origin: dict[str, Any]) -> str:
    """The provenance as JSON, with a line for each run and each cell."""
    cells = [f"{json.dumps(cell)}: {json.dumps(settings)}" for cell, settings in origin["cells"].items()]
    runs = [json.dumps(run) for run in origin["runs"]]
    text = json.dumps({**origin, "cells": None, "runs": None}, indent=2)
    text = text.replace('\n  "cells": null', "\n  " + '"cells": {' + _lines(cells) + "}")
    return text.replace('\n  "runs": null', "\n  " + '"runs": [' + _lines(runs) + "]") + "\n"


def results_of(origin: Mapping[str, Any]) -> Results:
    """The runs and their states as they were when the provenance was written. They have no rows."""
    configs = {
        cell: _nested({**origin["settings"], **own["settings"]}) | {"experiment": origin["experiment"]}
        for cell, own in origin["cells"].items()
    }
    runs, states, stale = [], {}, {}
    for entry in origin["runs"]:
        cell, seed = entry["cell"], entry["seed"]
        run = Run({**configs[cell], "seed": seed}, cell, seed, tuple(origin["cells"][cell]["overrides"]))
        runs.append(run)
        position = (entry["steps"], entry["epochs"], entry["seconds"])
        states[run.id] = State(entry["status"], entry["reason"], *position, summary=entry["summary"])
        if "stale" in entry:
            stale[run.id] = entry["stale"]
    return Results(runs, states, Table([]), stale=stale)


def command(report_id: str, runs: Sequence[Run], settings: Sequence[str] | None = None) -> str:
    """The command that makes these runs and the report.

    settings: those that asked for the runs; None: their budget, if it is not the default.
    """
    if settings is None:
        budgets = {_name(run.config.get("budget")) for run in runs}
        settings = [f"budget={name}" for name in budgets if len(budgets) == 1 and name not in ("default", "None")]
    return " ".join(["sobench reproduce", report_id, *map(shlex.quote, settings)])


def timing(evidence: Evidence) -> str | None:
    """The treatment of the times of disturbed runs: "left out of seconds: 3 runs that shared their GPU"."""
    counts = Counter(evidence.results.disturbed.values())
    parts = []
    if count := counts[SHARED]:
        parts.append("1 run that shared its GPU" if count == 1 else f"{count} runs that shared their GPU")
    if count := counts[CONTENDED]:
        parts.append(f"{plural(count, 'contended run')}, beside other work on the machine")
    if not parts:
        return None
    treatment = "left out of seconds" if evidence.report.timing == "alone" else "counted in seconds"
    return f"{treatment}: {'; '.join(parts)}"


def _timing_unknown(state: State) -> bool:
    """Whether a finished run has no judgement whether other work slowed it down."""
    timing = state.summary.get("timing")
    quality = timing.get("quality") if isinstance(timing, dict) else None
    return state.status in KEEPS and state.disturbed is None and quality != QUIET


def _cuts(evidence: Evidence) -> list[str]:
    """ "Newton cut to 60 of 6,559 steps": the methods that a column or curve shows at fewer epochs than others."""
    report = evidence.report
    columns = [column for column in evidence.asked(report.columns) if not column.growth]
    curves = evidence.asked([panel for panel in report.panels if isinstance(panel, Panel)])
    found = [evidence.cuts(part.where) for part in [*columns, *curves]]
    return list(dict.fromkeys(f"{report.methods[name].label} {cut}" for cuts in found for name, cut in cuts.items()))


def version() -> str:
    """The version of sobench that writes the report."""
    try:
        return metadata.version("sobench")
    except metadata.PackageNotFoundError:
        return "unknown"


def _entry(evidence: Evidence, run: Run, environment: dict[str, Any]) -> dict[str, Any]:
    state = evidence.results.states[run.id]
    summary = state.summary
    return {
        "id": run.id,
        "cell": run.cell,
        "seed": run.seed,
        "dataset": _name(run.config.get("dataset")),
        "model": _name(run.config.get("model")),
        "optimizer": _name(run.config.get("optimizer")),
        "status": state.status,
        "reason": state.reason,
        "steps": state.step,
        "epochs": state.epoch,
        "seconds": state.seconds,
        "summary": {key: value for key in OF_SUMMARY if (value := summary.get(key)) is not None},
        "parameters_sha256": summary.get("parameters_sha256"),
        "commit": environment.get("commit"),
        "started": environment.get("started"),
        "finished": summary.get("finished"),
        **({"stale": evidence.results.stale[run.id]} if run.id in evidence.results.stale else {}),
    }


def _settings(runs: Sequence[Run]) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """The settings that all cells have, and by cell the others, with the settings of the command that composes it.

    They are those that can change a result, and the budgets of the experiment, by their dotted paths.
    """
    by_cell = {run.cell: run for run in runs}
    by_key = [
        {key: value for key, value in run.settings.items() if _is_kept(key) and not _adds_nothing(key, value)}
        for run in by_cell.values()
    ]
    first = next(iter(by_key), {})
    common = {k: v for k, v in first.items() if all(k in own and own[k] == v for own in by_key)}
    cells = {}
    for (cell, run), own in zip(by_cell.items(), by_key, strict=True):
        overrides = [setting for setting in run.overrides if _is_kept(setting.partition("=")[0])]
        cells[cell] = {"overrides": overrides, "settings": {k: v for k, v in own.items() if k not in common}}
    return common, cells


@cache
def _is_kept(key: str) -> bool:
    """Whether a setting can change a result, beside the seed, or is a budget of the experiment."""
    group = key.partition(".")[0]
    return group == "budgets" or group not in (*NOT_IDENTITY, "seed")


def _budget(config: Mapping[str, Any]) -> Any:
    budget = config.get("budget")
    if not isinstance(budget, Mapping):
        return budget
    return {key: value for key, value in budget.items() if not _adds_nothing(f"budget.{key}", value)}


def _adds_nothing(key: str, value: Any) -> bool:
    """Whether a setting of a budget chooses runs only (`grid`), or takes all samples, as every run without it does."""
    group, _, name = key.partition(".")
    name = name.rpartition(".")[2]
    return group in ("budget", "budgets") and (name == "grid" or (name == "samples" and value is None))


def _nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    """The settings from their dotted paths."""
    settings: dict[str, Any] = {}
    for path, value in flat.items():
        *groups, key = path.split(".")
        node = settings
        for group in groups:
            node = node.setdefault(group, {})
        node[key] = value
    return settings


def _lines(items: list[str]) -> str:
    """The items of a JSON object or list, one a line."""
    return "".join(f"\n    {item}," for item in items)[:-1] + "\n  " if items else ""


def _name(group: object) -> str:
    return str(group.get("name")) if isinstance(group, dict) else str(group)


def _distinct(values: Iterable[Any]) -> list[Any]:
    """Each value once, without None, in order. The values may be unhashable."""
    distinct: list[Any] = []
    for value, _ in groupby(values):
        if value is not None and value not in distinct:
            distinct.append(value)
    return distinct
