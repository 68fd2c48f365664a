"""The facts on a report's page: data, model, budget, runs, timing and code, each a name and a line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from sobench.config.names import part_of_data
from sobench.report import data_sets
from sobench.report.lines import Line, Piece, line
from sobench.report.looks import LOOKS, Looks
from sobench.report.papers import papers
from sobench.report.provenance import BY_NEED
from sobench.report.settings import of_group
from sobench.system.text import plural


def facts(provenance: Mapping[str, Any]) -> dict[str, Line]:
    """The facts of a provenance, by name, in the order of the page."""
    seeds, environments, experiment = (provenance[key] for key in ("seeds", "environments", "experiment"))
    paper = papers().get(provenance["report"].rpartition("/")[0])
    states = ", ".join(f"{count} {status}" for status, count in provenance["states"].items())
    machine = ", ".join(str(name) for name in environments["device_name"] or environments["device"])
    versions = ", ".join(
        f"{name} {'/'.join(map(str, environments[name]))}" for name in ("sobench", "torch") if environments[name]
    )
    data_settings = of_group(provenance, "dataset")
    texts = {
        "Paper": f"{paper.authors}: {paper.title} ({paper.published})" if paper else "",
        "Data": data_sets.line(provenance.get("data_sets") or []) or ", ".join(provenance["data"]),
        "Data settings": data_settings if "(" in data_settings else "",
        "Model": of_group(provenance, "model"),
        "Budget": "; ".join(budget_line(budget) for budget in provenance["budgets"]) or "not recorded",
        "Cut budgets": "; ".join(provenance.get("cuts") or []),
        "Runs": f"{seeds['found']} of {seeds['expected']} finished ({states})",
        "Seeds": _by_need(Looks(**provenance["looks"])) if "looks" in provenance else "",
        "Device": machine or "not recorded",
        "Timing": _timing(provenance),
        "Code": _code(provenance) or "not recorded",
        "Versions": versions or "not recorded",
    }
    found = {name: line(text) for name, text in texts.items() if text}
    named = (Piece(experiment, "code"), Piece("; ")) if experiment else (Piece("none; "),)
    command, every = Piece(provenance["command"], "code"), Piece("provenance.json", "link")
    found["Experiment"] = line(named, "made with ", command, ", and every run is named in ", every)
    return found | ({"Stale": stale} if (stale := _stale(provenance)) else {})


def _by_need(looks: Looks) -> str:
    """The line about seeds that were added by need, and the p values."""
    return (
        f"added by need, until a claim is answered; the p values are by {looks}, each multiplied by {LOOKS}, so they "
        "stay valid wherever the adding stopped. The intervals are those of the last complete look, not adjusted for it"
    )


def _timing(provenance: Mapping[str, Any]) -> str:
    """ "left out of seconds: 2 contended runs; counted in seconds: 3 runs of unknown timing" """
    unknown = provenance.get("timing_unknown") or 0
    counted = f"counted in seconds: {plural(unknown, 'run')} of unknown timing (other work may have slowed them down)"
    return "; ".join(part for part in (provenance.get("timing"), counted if unknown else "") if part)


def _code(provenance: Mapping[str, Any]) -> str:
    """ "9b4f1d8 (21 runs); 4c6e44e with uncommitted changes (3 runs); plug-in newton of lab 0.1" """
    found = Counter(run["commit"] for run in provenance["runs"] if run["status"] not in ("missing", "queued"))
    texts = [f"{commit_text(commit)} ({plural(count, 'run')})" for commit, count in found.items()]
    for of_run in provenance.get("plugins") or []:
        texts += [_plugin(key, about) for key, about in of_run.items()]
    return "; ".join(dict.fromkeys(texts))


def commit_text(commit: str | None) -> str:
    """ "4c6e44e with uncommitted changes"; a trailing "+" of the recorded commit stands for these."""
    if not commit:
        return "commit not recorded"
    return commit.rstrip("+")[:7] + (" with uncommitted changes" if commit.endswith("+") else "")


def _plugin(key: str, about: Mapping[str, Any]) -> str:
    package = " ".join(str(about[part]) for part in ("distribution", "version") if about.get(part))
    commit = f" at {commit_text(about['commit'] + '+' * bool(about.get('dirty')))}" if about.get("commit") else ""
    return f"plug-in {key} of {package or about.get('module') or 'an unknown package'}{commit}"


def _stale(provenance: Mapping[str, Any]) -> Line:
    """The line about runs made by older code or from other data: their number by method, and the reason."""
    found = Counter((run["optimizer"], run["dataset"], run["stale"]) for run in provenance["runs"] if "stale" in run)
    if not found:
        return ()
    which = "; ".join(f"{count} of {optimizer} on {data} ({why})" for (optimizer, data, why), count in found.items())
    words = provenance["command"].removesuffix(f" {BY_NEED}").split(" ", 2)[2]
    if words.split(" ")[0] == provenance["report"] and provenance["experiment"]:
        words = provenance["experiment"] + words.removeprefix(provenance["report"])
    command = Piece(f"sobench retry {words} --stale", "code")
    return line(f"{found.total()} run{'s' * (found.total() > 1)}, {which}; made again with ", command)


def budget_line(budget: object) -> str:
    """ "cpu: 7 epochs" """
    if not isinstance(budget, dict):
        return str(budget)
    limits = ", ".join(f"{budget[unit]:,} {unit}" for unit in ("epochs", "steps", "seconds") if budget.get(unit))
    return ": ".join(text for text in (str(budget.get("name") or ""), limits) if text) + part_of_data(budget)
