"""The provenance of a report: its runs, the code and versions that made them, data, budgets and seeds."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Iterable, Sequence
from importlib import metadata
from typing import TYPE_CHECKING, Any

from sobench.report.evidence import Evidence
from sobench.results.state import CONTENDED, SHARED
from sobench.system.text import plural

if TYPE_CHECKING:
    from sobench.config.run import Run

_VERSIONS = ("sobench", "python", "torch", "numpy", "platform", "device", "device_name", "threads", "commit")


def provenance(evidence: Evidence, again: str) -> dict[str, Any]:
    """The provenance as plain data. The same runs give the same provenance: it does not contain the time of the report.

    again: the command that makes the report.
    """
    results, report = evidence.results, evidence.report
    environments = {run.id: results.environments.get(run.id, {}) for run in results.runs}
    configs = [run.config for run in results.runs]
    return {
        "report": report.id,
        "source": report.source,
        "experiment": report.experiment,
        "command": again,
        "generator": {"sobench": version()},
        "data": sorted({_data(config.get("dataset")) for config in configs}),
        "budgets": _distinct(config.get("budget") for config in configs),
        "environments": {key: _distinct(env.get(key) for env in environments.values() if env) for key in _VERSIONS},
        "seeds": {
            "found": sum(state.status == "done" for state in results.states.values()),
            "expected": len(results.runs),
        },
        **({"looks": {"first": evidence.looks.first}} if evidence.looks else {}),
        "states": dict(sorted(Counter(state.status for state in results.states.values()).items())),
        "timing": timing(evidence),
        "runs": [_entry(evidence, run, environments[run.id]) for run in results.runs],
    }


def as_json(origin: dict[str, Any]) -> str:
    """The provenance as JSON, indented by two; json itself takes seconds to indent many runs."""
    encode = json.JSONEncoder(separators=(",\n      ", ": ")).encode
    runs = ["    {\n      " + encode(run)[1:-1] + "\n    }" for run in origin["runs"]]
    rest = json.dumps({**origin, "runs": None}, indent=2)
    head, _, tail = rest.rpartition('"runs": null')
    return f'{head}"runs": [\n' + ",\n".join(runs) + f"\n  ]{tail}\n"


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


def version() -> str:
    """The version of sobench that writes the report."""
    try:
        return metadata.version("sobench")
    except metadata.PackageNotFoundError:
        return "unknown"


def _entry(evidence: Evidence, run: Run, environment: dict[str, Any]) -> dict[str, Any]:
    state = evidence.results.states[run.id]
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
        "parameters_sha256": state.summary.get("parameters_sha256"),
        "commit": environment.get("commit"),
        "started": environment.get("started"),
        "finished": state.summary.get("finished"),
        **({"stale": evidence.results.stale[run.id]} if run.id in evidence.results.stale else {}),
    }


def _name(group: object) -> str:
    return str(group.get("name")) if isinstance(group, dict) else str(group)


def _data(group: object) -> str:
    """The name of a data set; of a loader of many sets, with the set: "libsvm (webspam)"."""
    more = group.get("set") if isinstance(group, dict) else None
    return _name(group) + (f" ({more})" if more else "")


def _distinct(values: Iterable[Any]) -> list[Any]:
    """Each value once, without None, in order. The values may be unhashable."""
    distinct: list[Any] = []
    for value in values:
        if value is not None and value not in distinct:
            distinct.append(value)
    return distinct
