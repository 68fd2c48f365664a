"""The section of a report's page with the settings of every method, and where each comes from.

A method has one row for each place where the report shows it (the `where` of a column or panel), places with the same
settings in one row. Where the report shows several configurations of a method at once, as contours do, a setting is
a range.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sobench.config.by_path import short_name
from sobench.config.names import parameter_group
from sobench.config.run import Run
from sobench.report.evidence import Evidence
from sobench.report.lines import Line, Piece, joined, line
from sobench.report.origins import COMMAND, EXPERIMENT, TUNED, is_of_method

_MARKS = {COMMAND: "u", TUNED: "strong", EXPERIMENT: "em"}
_ALWAYS = ("batch_size", "l2", "schedule")
"""Settings that are shown also where they are defaults, beside those of the optimizer."""
_MOST = 3
"""The most values of a setting that are listed one by one."""


@dataclass
class _Row:
    """The settings of some methods at some places. shown: each with its marks. tuned: about the choices by tuning."""

    methods: list[str]
    places: list[str]
    shown: dict[str, Piece]
    tuned: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Settings:
    """The section in parts: the settings that all rows share, a table of the others, and what the marks mean."""

    shared: Line
    head: list[str]
    rows: list[list[Line]]
    legend: Line


def settings_of_methods(evidence: Evidence, origin: Mapping[str, Any]) -> tuple[Settings, Settings] | None:
    """The section with all settings, and the one without those that nobody set; None if the provenance has none."""
    rows = _rows(evidence, origin)
    if not rows:
        return None
    legend = _legend(evidence.report.experiment, origin)
    whole = _section(rows, legend)
    if not any("origins" in cell for cell in origin["cells"].values()):
        return whole, whole
    marked = [replace(row, shown={key: piece for key, piece in row.shown.items() if piece.mark}) for row in rows]
    return whole, _section(marked, legend)


def _section(rows: Sequence[_Row], legend: Line) -> Settings:
    shared = [
        key
        for key, text in rows[0].shown.items()
        if all(row.shown.get(key) == text for row in rows) and (len(rows) > 1 or not key.startswith("optimizer."))
    ]
    with_table = any(row.tuned or {*row.shown} - {*shared} for row in rows)
    head, *body = _table(rows, shared) if with_table else [[]]
    return Settings(_listed({key: rows[0].shown[key] for key in shared}), head, body, legend)


def of_group(origin: Mapping[str, Any], group: str) -> str:
    """ "mlp (widths [10], activation relu); lenet": each member of a group that the cells have, with its settings."""
    members: dict[str, dict[str, list[Any]]] = {}
    for own in (origin.get("cells") or {}).values():
        settings = {**origin["settings"], **own["settings"]}
        name = " ".join(str(settings[key]) for key in (f"{group}.name", f"{group}.set") if key in settings)
        values = members.setdefault(name, {})
        for key, value in settings.items():
            if key.startswith(f"{group}.") and key.removeprefix(f"{group}.") not in ("name", "set"):
                values.setdefault(key.removeprefix(f"{group}."), []).append(value)
    texts = [
        name + (f" ({', '.join(f'{key} {_values(of_key)}' for key, of_key in values.items())})" if values else "")
        for name, values in members.items()
    ]
    return "; ".join(texts)


def _rows(evidence: Evidence, origin: Mapping[str, Any]) -> list[_Row]:
    cells = origin.get("cells") or {}
    settings = {cell: {**origin["settings"], **own["settings"]} for cell, own in cells.items()}
    extra = _differing(list(settings.values()))
    report = evidence.report
    rows: list[_Row] = []
    of_cells: dict[tuple[str, ...], _Row] = {}
    for where in _places(evidence):
        for method in report.methods:
            runs = evidence.fitting(method, where)
            own = tuple(dict.fromkeys(run.cell for run in runs if run.cell in cells))
            label, place = report.methods[method].label, _place(where, runs)
            if not own:
                continue
            shown = _shown([settings[cell] for cell in own], [cells[cell].get("origins", {}) for cell in own], extra)
            if own in of_cells:  # several series of the same runs
                _add(of_cells[own].methods, label)
                _add(of_cells[own].places, place)
                continue
            row = _Row([label], [place], shown, _tuned([cells[cell] for cell in own]))
            same = (r for r in rows if (r.methods, r.shown, r.tuned) == (row.methods, row.shown, row.tuned))
            known = next(same, None)
            if known is None:
                rows.append(row)
            else:
                _add(known.places, place)
            of_cells[own] = known or row
    order = [method.label for method in report.methods.values()]
    return sorted(rows, key=lambda row: order.index(row.methods[0]))


def _places(evidence: Evidence) -> list[Mapping[str, object]]:
    """The distinct selections of runs that the columns and panels of the report show."""
    report = evidence.report
    parts = [*evidence.asked(report.columns), *evidence.asked(report.panels)]
    return list({repr(part.where): part.where for part in parts}.values()) or [{}]


def _place(where: Mapping[str, object], runs: Sequence[Run]) -> str:
    """ "usps", "letter, cross_entropy": the values that select a part's runs, or else the data sets of these."""
    values = ["/".join(map(str, value)) if isinstance(value, list) else str(value) for value in where.values()]
    return ", ".join(values or dict.fromkeys(short_name(run.label("dataset")) for run in runs))


def _differing(cells: Sequence[Mapping[str, Any]]) -> set[str]:
    """The settings in which cells of one data set and model differ."""
    by_problem: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    for settings in cells:
        problem = tuple(str(settings.get(key)) for key in ("dataset.name", "dataset.set", "model.name"))
        by_problem.setdefault(problem, []).append(settings)
    return {
        key
        for same in by_problem.values()
        for settings in same
        for key in settings
        if any(key in other and other[key] != settings[key] for other in same[:1])
    }


def _shown(
    cells: Sequence[Mapping[str, Any]], origins: Sequence[Mapping[str, str]], extra: set[str]
) -> dict[str, Piece]:
    """The text of each setting of these cells that a row shows, those that somebody set before the defaults."""
    keys = dict.fromkeys(key for settings in cells for key in settings if is_of_method(key))
    set_by = {(key, by) for of_cell in origins for key, by in of_cell.items()}
    texts: dict[str, Piece] = {}
    defaults: dict[str, Piece] = {}
    for key in keys:
        mark = next((name for name in _MARKS if (key, name) in set_by), None)
        group = key.partition(".")[0]
        if key == "optimizer.name" or not (mark or key in extra or group == "optimizer" or group in _ALWAYS):
            continue
        text = _values([settings[key] for settings in cells if key in settings])
        (texts if mark else defaults)[key] = Piece(text, _MARKS[mark] if mark else "")
    return texts | defaults


def _values(values: Sequence[Any]) -> str:
    """ "0.1", "relu, sin", "9 values from 0.001 to 1" """
    distinct = list({repr(value): value for value in values}.values()) if len(values) > 1 else list(values)
    if len(distinct) <= _MOST:
        return ", ".join(map(value_text, distinct))
    if all(isinstance(value, (int, float)) for value in distinct):
        distinct.sort()
    elif not all(isinstance(value, list) for value in distinct):
        return ", ".join(map(value_text, distinct))
    return f"{len(distinct)} values from {value_text(distinct[0])} to {value_text(distinct[-1])}"


def value_text(value: Any) -> str:
    """ "0.1", "none", "[10, 10]" """
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(value_text, value))}]"
    if isinstance(value, Mapping) and "match" in value:
        return parameter_group(value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _tuned(cells: Sequence[Mapping[str, Any]]) -> list[str]:
    """ "highest validation_accuracy of 16 trials, seeds 1000, 1001; lr: the best lies on the edge of its grid" """
    texts = []
    for tuned in (cell["tuned"] for cell in cells if cell.get("tuned")):
        extreme = {"lower": "lowest", "higher": "highest"}.get(str(tuned.get("better")), "best")
        seeds = tuned.get("seeds") or []
        text = f"{extreme} {tuned.get('metric')} of {tuned.get('trials')} trials, "
        text += f"seed{'s' * (len(seeds) != 1)} {', '.join(map(str, seeds))}"
        if edge := tuned.get("edge"):
            text += f"; {', '.join(map(short, edge))}: the best lies on the edge of its grid"
        texts.append(text)
    return list(dict.fromkeys(texts))


def _table(rows: Sequence[_Row], shared: Sequence[str]) -> list[list[Any]]:
    """The head and the rows, without the columns that have nothing to tell.

    What all rows of a method share stands in a row of its own, before them.
    """
    with_places = len({tuple(row.places) for row in rows}) > 1
    with_tuning = any(row.tuned for row in rows)
    lines: list[list[Line]] = []
    for methods in dict.fromkeys(tuple(row.methods) for row in rows):
        own = [row for row in rows if tuple(row.methods) == methods]
        label, left_out = line(", ".join(methods)), {*shared}
        if len(own) > 1:
            common = {key: text for key, text in own[0].shown.items() if all(row.shown.get(key) == text for row in own)}
            left_out |= {*common}
            if rest := {key: text for key, text in common.items() if key not in shared}:
                lines.append([label, line("all"), _listed(rest), ()])
        for row in own:
            shown = _listed({key: text for key, text in row.shown.items() if key not in left_out}) or line("–")
            lines.append([label, line("; ".join(row.places)), shown, line("; ".join(row.tuned) or "–")])
    kept = [0, *([1] if with_places else []), 2, *([3] if with_tuning else [])]
    return [[row[index] for index in kept] for row in [["method", "on", "settings", "tuned by"], *lines]]


def _legend(experiment: str | None, origin: Mapping[str, Any]) -> Line:
    cells = origin["cells"].values()
    if not any("origins" in cell for cell in cells):
        return line("Where the values come from is not recorded.")
    used = {by for cell in cells for by in cell.get("origins", {}).values()}
    files = sorted({cell["tuned"]["file"] for cell in cells if cell.get("tuned")})
    listed = joined([line(Piece(file, "code")) for file in files], ", ")
    by_experiment = (
        line(
            ": set by the experiment (",
            Piece(f"conf/experiment/{experiment}.yaml", "code"),
            " says which values are the paper's and which are our choice).",
        )
        if experiment
        else line(": set by the description of the report.")
    )
    texts = {
        TUNED: line(Piece("Bold", "strong"), ": chosen by tuning (", listed, ")."),
        EXPERIMENT: line(Piece("Italic", "em"), by_experiment),
        COMMAND: line(Piece("Underlined", "u"), ": set on the command line."),
    }
    return joined([*(text for by, text in texts.items() if by in used), line("Plain: the default.")], " ")


def _listed(texts: Mapping[str, Piece]) -> Line:
    """ "lr *0.1*, momentum 0" """
    return joined([line(f"{short(key)} ", text) for key, text in texts.items()], ", ")


def short(key: str) -> str:
    """ "lr" of "optimizer.lr", "schedule" of "schedule.name" """
    return key.removeprefix("optimizer.").removeprefix("instrument.").removesuffix(".name")


def _add(items: list[str], item: str) -> None:
    if item not in items:
        items.append(item)
