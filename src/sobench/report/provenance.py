"""Where the numbers of a report come from: the runs, the code and versions that made them, data, budget, seeds."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Sequence
from importlib import metadata

from sobench.report.evidence import Evidence

_VERSIONS = ("sobench", "python", "torch", "numpy", "platform", "device", "device_name", "threads", "commit")


def provenance(evidence: Evidence, again: str) -> dict:
    """All of it as plain data. It holds no time of its own making: the same runs give the same provenance. again: the command that
    makes the report."""
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
        "states": dict(sorted(Counter(state.status for state in results.states.values()).items())),
        "timing": timing(evidence),
        "runs": [_entry(evidence, run, environments[run.id]) for run in results.runs],
    }


def as_json(origin: dict) -> str:
    """The provenance as JSON, indented by two. The runs are plain, and of many json's own indentation would take seconds."""
    encode = json.JSONEncoder(separators=(",\n      ", ": ")).encode
    runs = ["    {\n      " + encode(run)[1:-1] + "\n    }" for run in origin["runs"]]
    rest = json.dumps({**origin, "runs": None}, indent=2)
    head, _, tail = rest.rpartition('"runs": null')
    return f'{head}"runs": [\n' + ",\n".join(runs) + f"\n  ]{tail}\n"


def command(report_id: str, runs: Sequence[Run], settings: Sequence[str] | None = None) -> str:
    """What makes these runs and the report again: with the settings that asked for them; None: with their budget, if it is not
    the default."""
    if settings is None:
        budgets = {_name(run.config.get("budget")) for run in runs}
        settings = [f"budget={name}" for name in budgets if len(budgets) == 1 and name not in ("default", "None")]
    return " ".join(["sobench reproduce", report_id, *map(shlex.quote, settings)])


def timing(evidence: Evidence) -> str | None:
    """What became of the times of runs that shared their GPU: "left out of seconds: 3 runs that shared their GPU"."""
    count = len(evidence.results.shared)
    what = "left out of seconds" if evidence.report.timing == "alone" else "counted in seconds"
    return (
        f"{what}: {count} run{'' if count == 1 else 's'} that shared {'its' if count == 1 else 'their'} GPU"
        if count
        else None
    )


def version() -> str:
    """The version of sobench that writes the report."""
    try:
        return metadata.version("sobench")
    except metadata.PackageNotFoundError:
        return "unknown"


def _entry(evidence: Evidence, run: Run, environment: dict) -> dict:
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
    """The name of a data set, with the set that a loader of many reads: "libsvm (webspam)"."""
    more = group.get("set") if isinstance(group, dict) else None
    return _name(group) + (f" ({more})" if more else "")


def _distinct(values: object) -> list:
    """Each value once, in the order they come; values may be unhashable."""
    found: list = []
    for value in values:
        if value is not None and value not in found:
            found.append(value)
    return found
