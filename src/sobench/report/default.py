"""The report of any sweep, without a description of its own: it is made from the runs that are there.

    runs --problems--> runs of one problem each --describe--> Report, with the best configuration of each optimizer

A problem is a data set, a model and everything else that is not a hyperparameter of the optimizer: there is one report
for each. A configuration is chosen by the validation metric if the runs recorded one, else by the test metric.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sobench.config.by_path import short_name, short_names
from sobench.config.run import Run
from sobench.config.tuning import HYPERPARAMETERS
from sobench.report.choice import as_condition, in_words
from sobench.report.data_sets import named
from sobench.report.evidence import Evidence
from sobench.report.many_settings import tried
from sobench.report.schema.panels import AnyPanel, Panel, Sensitivity
from sobench.report.schema.spec import Choice, Column, Figure, Method, Note, Report, Table
from sobench.report.settings import short, value_text
from sobench.report.tune_pages import NOTE as EDGE
from sobench.results.axes import AXES
from sobench.results.collection import Results
from sobench.results.pick import better_of, column
from sobench.results.record import STEP_COST
from sobench.results.state import KEEPS
from sobench.results.trials import Search, Trial, is_number

OWN = "own"
"""The beginning of the ids of these reports, in place of a paper."""
PARTS, KINDS = ("train", "test", "validation"), ("accuracy", "rmse", "mse", "loss")
"""The sets and the metrics of an evaluation; the first recorded kind is the metric of the task."""
WIDE = 5.0
"""The axis of a hyperparameter is logarithmic where its largest value is at least so many times its smallest."""


def wanted(runs: Sequence[Run]) -> frozenset[str]:
    """The columns of the record that `describe` needs."""
    kinds = [*KINDS, *_own_metrics(runs)]
    return frozenset({"work", STEP_COST, *(f"{part}_{kind}" for part in PARTS for kind in kinds)})


def _own_metrics(runs: Sequence[Run]) -> list[str]:
    """The names of the metrics of the user's own."""
    return list(dict.fromkeys(short_name(path) for run in runs for path in run.config.get("metrics", ())))


@dataclass(frozen=True)
class Problem:
    """The runs of one problem. name: for a folder, "digits-mlp". title: for people, "digits, mlp (activation relu)"."""

    name: str
    title: str
    runs: list[Run]


def problems(runs: Sequence[Run]) -> list[Problem]:
    """The runs by problem, in their order. Names are distinct where the settings that differ have short values.

    Runs of different budgets are of different problems if an optimizer has several; else the budget belongs to the
    optimizer, and the report marks the methods that were cut.
    """
    groups = _grouped(runs, with_budget=False)
    split = [part for group in groups for part in (_grouped(group, True) if _several_budgets(group) else [group])]
    return [Problem(*_names(group[0], [other[0] for other in split]), group) for group in split]


def _grouped(runs: Sequence[Run], with_budget: bool) -> list[list[Run]]:
    by_problem: dict[str, list[Run]] = {}
    first = {run.cell: run for run in reversed(runs)}
    keys = {cell: json.dumps(_problem_of(run, with_budget), sort_keys=True) for cell, run in first.items()}
    for run in runs:
        by_problem.setdefault(keys[run.cell], []).append(run)
    return list(by_problem.values())


def _problem_of(run: Run, with_budget: bool) -> dict[str, Any]:
    """The settings that make the problem of a run, by their dotted paths."""
    from sobench.config.files import NOT_IDENTITY

    left_out = {*HYPERPARAMETERS, *NOT_IDENTITY, "seed", *([] if with_budget else ["budget"])}
    return {key: value for key, value in run.settings.items() if key.partition(".")[0] not in left_out}


def _several_budgets(runs: Sequence[Run]) -> bool:
    """Whether an optimizer was run with several budgets."""
    found: dict[str, set[str]] = {}
    for run in runs:
        limits = {key: run.config["budget"].get(key) for key in ("epochs", "steps", "seconds", "samples")}
        found.setdefault(run.label("optimizer"), set()).add(json.dumps(limits))
    return any(len(limits) > 1 for limits in found.values())


def _names(run: Run, others: Sequence[Run]) -> tuple[str, str]:
    """The name and the title of the problem of a run; with the settings in which others of the data set and model
    differ."""
    data, model = named(run.config["dataset"]), short_name(run.label("model"))
    own = _problem_of(run, with_budget=True)
    alike = [
        _problem_of(other, with_budget=True)
        for other in others
        if (named(other.config["dataset"]), short_name(other.label("model"))) == (data, model)
    ]
    differing = [key for key in own if key != "budget.name" and any(other.get(key) != own[key] for other in alike)]
    texts = [f"{key.rpartition('.')[2]} {value_text(own[key])}" for key in differing]
    words = re.sub(r"[^A-Za-z0-9.]+", "-", " ".join([data, model, *texts]))
    return words.strip("-."), f"{data}, {model}" + (f" ({', '.join(texts)})" if texts else "")


def describe(
    results: Results, problem: Problem, name: str, experiment: str | None = None, settings: Sequence[str] = ()
) -> Report:
    """The report of the runs of one problem.

    name: that of the report. experiment, settings: what asked for the runs. At least one run has a result.
    """
    runs = results.runs
    metrics = _recorded(results)
    metric, by = metrics["test"], metrics.get("validation", metrics["test"])
    over = _differing(runs)
    draft = Report(
        f"{experiment}: {problem.title}" if experiment else problem.title,
        "own runs, beside no published numbers",
        experiment,
        {name: Method(label, {"optimizer": name}) for name, label in short_names(_optimizers(runs)).items()},
        settings=list(settings),
        choice=Choice(by, _label(by), better_of(by), over) if over else None,
        id=f"{OWN}/{name}",
        file="the report's description",
    )
    if draft.choice is None:
        return _shown(draft, Evidence(draft, results), metric, {})
    evidence = Evidence(draft, results)
    return _shown(draft, evidence, metric, {method: tried(evidence, draft.choice, method) for method in draft.methods})


def _shown(draft: Report, evidence: Evidence, metric: str, searches: Mapping[str, Search]) -> Report:
    """The draft with the chosen configurations, the table, the figure and the notes."""
    chosen = {method: search.by_preference[0] for method, search in searches.items()}
    methods = {name: _method(own, searches.get(name), chosen.get(name)) for name, own in draft.methods.items()}
    report = replace(draft, methods=methods)
    evidence = Evidence(report, evidence.results)
    by = draft.choice.metric if draft.choice else metric
    return replace(
        report,
        table=Table(_columns(dict.fromkeys((metric, by, "train_loss")), _own_metrics(evidence.results.runs))),
        figure=Figure([*_curves(evidence, metric), *_sensitivities(evidence, metric, searches)]),
        notes=_notes(evidence, searches, chosen),
    )


def _recorded(results: Results) -> dict[str, str]:
    """The metric of the task on the test set, and on the validation set if there is one; else the training loss."""
    table = results.table.of_kind("eval")
    found = {}
    for part in ("test", "validation"):
        names = [name for kind in KINDS if (name := f"{part}_{kind}") in table]
        recorded = [name for name in names if column(table, name).notna().any()]
        if recorded:
            found[part] = recorded[0]
    return {"test": "train_loss", **found}


def _optimizers(runs: Sequence[Run]) -> list[str]:
    return list(dict.fromkeys(run.label("optimizer") for run in runs))


def _differing(runs: Sequence[Run]) -> list[str]:
    """The hyperparameters in which the runs of an optimizer differ, those of the optimizer first."""
    by_optimizer: dict[str, dict[str, Run]] = {}
    for run in runs:
        by_optimizer.setdefault(run.label("optimizer"), {})[run.cell] = run
    found: dict[str, None] = {}
    for cells in by_optimizer.values():
        own = [
            {key: value for key, value in run.settings.items() if key.partition(".")[0] in HYPERPARAMETERS}
            for run in cells.values()
        ]
        for key in dict.fromkeys(key for settings in own for key in settings):
            if any(settings.get(key) != own[0].get(key) for settings in own):
                found[key] = None
    return sorted(found, key=lambda key: HYPERPARAMETERS.index(key.partition(".")[0]))


def _method(method: Method, search: Search | None, trial: Trial | None) -> Method:
    """An optimizer with its chosen configuration. method: the optimizer with any."""
    if search is None or trial is None:
        return method
    own = {key: trial.values[key] for key, values in search.grid.items() if any(value is not None for value in values)}
    several = {key: value for key, value in own.items() if len(search.grid[key]) > 1}
    label = f"{method.label} ({in_words(several)})" if several else method.label
    return Method(label, {**method.where, **{key: as_condition(value) for key, value in own.items()}})


def _label(metric: str) -> str:
    return metric.replace("train_", "training_").replace("_", " ")


def _columns(metrics: Mapping[str, None], own: Sequence[str]) -> list[Column]:
    """own: the metrics of the user's own, of which it is not known whether more is better."""
    columns = [
        Column(metric, _label(metric), ".4f" if metric.endswith("accuracy") else ".4g", better_of(metric))
        for metric in metrics
    ]
    columns += [Column(f"test_{name}", _label(f"test_{name}"), ".4g") for name in own]
    return [*columns, Column("seconds_per_step", "seconds per step", ".3g", "lower")]


def _curves(evidence: Evidence, metric: str) -> list[AnyPanel]:
    """The training loss and the metric against epochs, and the metric against a time."""
    runs = [run for method in evidence.report.methods for run in evidence.runs(method, {})]
    states = [evidence.results.states[run.id] for run in runs if evidence.results.states[run.id].status in KEEPS]
    time = "seconds"
    if any(state.disturbed for state in states):
        time = "cost" if all(STEP_COST in state.summary for state in states) else "work"
    pairs = dict.fromkeys([("epoch", "train_loss"), ("epoch", metric), (time, "train_loss"), (time, metric)])
    return [
        Panel(x, y, _label(y), title=f"{_label(y)} by {AXES[x].partition(' (')[0]}", scale=_scale(evidence, y))
        for x, y in pairs
    ]


def _scale(evidence: Evidence, metric: str) -> str:
    """`log` for a loss that is above zero in every recorded row, else `linear`."""
    if metric.endswith("accuracy"):
        return "linear"
    values = column(evidence.results.table.of_kind("eval"), metric)
    return "log" if (values.dropna() > 0).all() else "linear"


def _sensitivities(evidence: Evidence, metric: str, searches: Mapping[str, Search]) -> list[AnyPanel]:
    """The metric against each hyperparameter of which an optimizer has several numbers."""
    choice = evidence.report.choice
    panels: list[AnyPanel] = []
    for key in choice.over if choice else ():
        grids = {method: [v for v in search.grid[key] if is_number(v)] for method, search in searches.items()}
        methods = [method for method, values in grids.items() if values]
        values = [value for of_method in grids.values() for value in of_method]
        if not any(len(of_method) > 1 for of_method in grids.values()):
            continue
        log = min(values) > 0 and max(values) >= WIDE * min(values)
        panels.append(
            Sensitivity(
                key,
                metric,
                _label(metric),
                over=list(choice.over) if choice else [],
                x_label=short(key).replace("_", " "),
                title=f"{_label(metric)} by {short(key).replace('_', ' ')}",
                better=better_of(metric),
                scale=_scale(evidence, metric),
                x_scale="log" if log else "linear",
                methods=methods,
            )
        )
    return panels


def _notes(evidence: Evidence, searches: Mapping[str, Search], chosen: Mapping[str, Trial]) -> list[Note]:
    """What limits the comparison: one seed, the edge of a grid, unfinished or unequal searches, a penalty."""
    report, notes = evidence.report, []
    names = short_names(report.methods)
    single = [method for method in report.methods if len(evidence.runs(method, {})) == 1]
    if single:
        who = "every method" if len(single) == len(report.methods) else ", ".join(names[method] for method in single)
        notes.append(f"One seed of {who}: there is no standard error, and differences may be due to chance.")
    edges = []
    for method, search in searches.items():
        texts = [f"{short(key)} {value_text(chosen[method].values[key])}" for key in search.edge]
        edges += [f"{names[method]} ({', '.join(texts)})"] if texts else []
    if edges:
        notes.append(f"{', '.join(edges)}: {EDGE}.")
    unfinished = {method: sum(not trial.complete for trial in search.trials) for method, search in searches.items()}
    texts = [
        f"{count} of {len(searches[method].trials)} of {names[method]}" for method, count in unfinished.items() if count
    ]
    if texts:
        notes.append(f"Settings of which not every run finished, so that others are preferred: {', '.join(texts)}.")
    counts = {method: len(search.trials) for method, search in searches.items()}
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{count} of {names[method]}" for method, count in counts.items())
        notes.append(f"Unequal numbers of settings were tried: {listed}. A method with more of them has an advantage.")
    if len({run.config.get("l2") for run in evidence.results.runs}) > 1:
        notes.append("The losses contain the penalty l2, which differs between runs.")
    return [Note(note) for note in notes]
