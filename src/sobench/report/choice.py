"""The choice of each method's configuration among those that were tried: a sentence, the table, and settings.csv."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass

from sobench.report.evidence import Evidence
from sobench.report.lines import Line, Piece, line
from sobench.report.many_settings import tried
from sobench.report.schema.spec import Choice
from sobench.report.settings import short, value_text
from sobench.results.trials import Search, Trial

_VALIDATION = "validation"


def sentence(choice: Choice) -> str:
    """By what the configurations were chosen, and why the values of the table are optimistic."""
    extreme = {"lower": "lowest", "higher": "highest"}[choice.better]
    place = "at the end" if choice.at == "last" else f"at {choice.at}"
    text = (
        f"Each method is shown with the settings that have the {extreme} {choice.label} {place}, as the mean over the "
        "seeds, among the settings of which every run finished. "
    )
    if choice.metric.startswith(_VALIDATION):
        return text + (
            f"The {choice.label} of the chosen settings is optimistic, as the same runs chose them and are shown; the "
            "test metric did not take part in the choice."
        )
    return text + (
        "The same runs chose the settings and are shown, so their values are optimistic, the more so the more settings "
        f"were tried. Runs with a validation set (`{_VALIDATION}=0.1`) are chosen by it."
    )


@dataclass(frozen=True)
class Tried:
    """All configurations of every method as a table, those of a method by preference; the shown one is bold."""

    head: list[str]
    rows: list[list[Line]]


def table(evidence: Evidence, choice: Choice) -> Tried:
    """The configurations that were tried. Runs that are not in a mean have a column if there are any."""
    rows = []
    for method, search in searches(evidence, choice).items():
        for trial in search.by_preference:
            score = trial.score
            mark = "strong" if is_shown(evidence, method, choice, trial) else ""
            texts = (in_words(trial.values), _score(trial), f"{score.found}/{score.expected}")
            rows.append([line(method), *(line(Piece(text, mark)) for text in texts), line(score.gap)])
    head = ["method", "settings", choice.label, "n", "not in the mean"]
    kept = len(head) if any(row[-1] for row in rows) else len(head) - 1
    return Tried(head[:kept], [row[:kept] for row in rows])


def to_csv(evidence: Evidence, choice: Choice) -> str:
    """A line for each configuration of every method, with unrounded numbers."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["method", *choice.over, "metric", "mean", "stderr", "n", "expected", "gaps", "shown"])
    for method, search in searches(evidence, choice).items():
        for trial in search.trials:
            score, values = trial.score, ["" if value is None else value for value in trial.values.values()]
            numbers = ["" if math.isnan(number) else repr(number) for number in (score.mean, score.stderr)]
            shown = int(is_shown(evidence, method, choice, trial))
            writer.writerow([method, *values, choice.metric, *numbers, score.found, score.expected, score.gap, shown])
    return file.getvalue()


def searches(evidence: Evidence, choice: Choice) -> dict[str, Search]:
    """The configurations of each method."""
    return {method: tried(evidence, choice, method) for method in evidence.report.methods}


def is_shown(evidence: Evidence, method: str, choice: Choice, trial: Trial) -> bool:
    """Whether the report shows a method with these settings."""
    where = evidence.report.methods[method].where
    return all(where[key] == as_condition(trial.values[key]) for key in choice.over if key in where)


def as_condition(value: object) -> object:
    """The value of a `where` that only this value of a setting matches: a list stands for any of its members."""
    return [value] if isinstance(value, list) else value


def in_words(values: Mapping[str, object]) -> str:
    """ "lr 0.1, momentum 0.9": the settings that the method has, or "–"."""
    return ", ".join(f"{short(key)} {value_text(value)}" for key, value in values.items() if value is not None) or "–"


def _score(trial: Trial) -> str:
    score = trial.score
    if math.isnan(score.mean):
        return "–"
    return f"{score.mean:.4g}" + (f" ± {score.stderr:.2g}" if math.isfinite(score.stderr) else "")
