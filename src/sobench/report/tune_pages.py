"""The output of `sobench tune`: all trials, the chosen settings with provenance, the best of k trials."""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from sobench.config import tuning
from sobench.errors import Failure
from sobench.report.draft import drafted
from sobench.report.formats import Markdown
from sobench.report.web import NAME, tuning_page
from sobench.results.aggregate import Aggregate
from sobench.results.trials import Search, Trial
from sobench.system import text
from sobench.system.files import write_atomically

WIDE = 8.0
"""The axis of the scores is logarithmic where the largest is more than so many times the smallest."""
TRIALS, PICTURE = "trials.csv", "best-of-k.png"
_OF_TRIAL = ("cell", "score", "stderr", "seeds", "of", "gap", "chosen")
"""The columns of trials.csv that are no settings."""
NOTE = "the best lies on the edge of its grid: a better value may lie beyond"
FILES = ("tuning.md", NAME, TRIALS, PICTURE)
HEAD = "# What was chosen, and by what: written by `sobench tune`, used by the experiments that name this file.\n"


def adopt(name: str, searches: Sequence[Search], criterion: dict[str, Any]) -> Path:
    """Write the chosen settings to tuned/<name>.yaml of the user's own folder, in place of those that they replace.

    The other choices in that file are kept. Raises Failure.
    """
    import yaml

    new = [entry(search, search.best, criterion) for search in searches if search.best]
    path = tuning.file_to_write(name)
    kept = tuning.joined(tuning.read(path), new)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, (HEAD + yaml.safe_dump(kept, sort_keys=False, width=130)).encode())
    except OSError as error:
        raise Failure(f"tune: cannot write {path}: {error.strerror}") from error
    return path


def entry(search: Search, best: Trial, criterion: dict[str, Any]) -> dict[str, Any]:
    """The chosen settings of one search, those of its best trial, with their provenance."""
    return {
        "cell": list(search.cell),
        "values": best.values,
        "score": round(best.score.mean, 6),
        **copy.deepcopy(criterion),
        "trials": len(search.trials),
        "unfinished": sum(not trial.complete for trial in search.trials),
        "edge": search.edge,
    }


def write(searches: Sequence[Search], criterion: dict[str, Any], title: str, out: Path) -> list[Path]:
    """Write FILES into the folder `out`; their paths. Raises Failure, with the files in `out` as they were."""
    with drafted(out, FILES) as draft:
        trials(searches).to_csv(draft / TRIALS, index=False)
        (draft / "tuning.md").write_text(_markdown(searches, criterion, title), encoding="utf-8")
        draw_again(draft, draft)
    return [out / name for name in FILES]


def draw_again(folder: Path, out: Path) -> None:
    """Draw best-of-k.png and the page for a browser of the trials.csv and tuning.md in a folder, into `out`.

    Raises Failure for damaged files.
    """
    try:
        text, table = (folder / "tuning.md").read_text("utf-8"), pd.read_csv(folder / TRIALS)
    except (OSError, ValueError) as error:
        raise Failure(f"its trials cannot be read: {error}") from error
    title, criterion = (
        re.search(form, text, re.MULTILINE)
        for form in (r"^# Tuning: (.+)$", r"^By (\S+) \((lower|higher) is better.*$")
    )
    if title is None or criterion is None:
        raise Failure("tuning.md does not say what was tuned, and by what the trials were compared")
    try:
        searches = [
            Search((f"cell={cell}",), {}, [_read(trial) for _, trial in rows.iterrows()], criterion[2])
            for cell, rows in table.groupby("cell", sort=False)
        ]
    except (KeyError, ValueError) as error:
        raise Failure(f"trials.csv is damaged: {error}") from error
    _figure(searches, {"metric": criterion[1]}, out / PICTURE)
    _, short = short_labels([search.label.replace("optimizer.", "") for search in searches])
    labels = {search.label: label for search, label in zip(searches, short)}
    page = tuning_page.page(title[1], criterion[0], searches, labels, ks(searches), PICTURE)
    (out / NAME).write_text(page, encoding="utf-8")


@dataclass(frozen=True)
class _Score(Aggregate):
    """A score of which the mean, the standard error and the number of seeds were kept."""

    error: float = math.nan

    @property
    def stderr(self) -> float:
        return self.error


def _read(trial: pd.Series) -> Trial:
    """A trial as a row of trials.csv keeps it: its settings, the mean of its scores, and their number."""
    keys = [str(key) for key in trial.index if key not in _OF_TRIAL and pd.notna(trial[key])]
    mean, error, found = float(trial["score"]), float(trial["stderr"]), int(trial["seeds"])
    return Trial(
        {key: trial[key] for key in keys}, _Score(dict.fromkeys(range(found), mean), int(trial["of"]), error=error)
    )


def trials(searches: Sequence[Search]) -> pd.DataFrame:
    """A row for each trial."""
    return pd.DataFrame(
        [
            {
                "cell": search.label,
                **trial.values,
                "score": trial.score.mean,
                "stderr": trial.score.stderr,
                "seeds": trial.score.found,
                "of": trial.score.expected,
                "gap": trial.score.gap,
                "chosen": trial is search.best,
            }
            for search in searches
            for trial in search.trials
        ]
    )


def ks(searches: Sequence[Search]) -> list[int]:
    """1, 2, 4, ... and the largest number of trials of one search: the places on the axis of the figure."""
    most = max((len(search.trials) for search in searches), default=1)
    return sorted({2**i for i in range(most.bit_length()) if 2**i < most} | {most})


def table_of_choices(searches: Sequence[Search], criterion: dict[str, Any]) -> list[str]:
    """The chosen settings as a table for the terminal: a row for each, with the score of the trial on the first."""
    rows = [["cell", "setting", "value", criterion["metric"], "trials", ""]]
    for search in searches:
        about = [search.label, _score(search.best), count(search)]
        for key, value in search.best.values.items() if search.best else [("none finished", "")]:
            edge = "edge of its grid" if key in search.edge else ""
            rows.append([about[0], key, str(value), about[1], about[2], edge])
            about = ["", "", ""]
    return text.table(rows)


def _markdown(searches: Sequence[Search], criterion: dict[str, Any], title: str) -> str:
    rows = []
    for search in searches:
        best = search.best
        marked = (
            [
                f"{key.removeprefix('optimizer.')}={value}{'*' if key in search.edge else ''}"
                for key, value in best.values.items()
            ]
            if best
            else ["none finished"]
        )
        rows.append([search.label, ", ".join(marked), _score(best), count(search)])
    seeds = ", ".join(map(str, criterion["seeds"]))
    parts = [
        f"# Tuning: {title}",
        f"By {criterion['metric']} ({criterion['better']} is better, at its {criterion['at']}), the mean over seeds "
        f"{seeds}; budget {criterion['budget']}.",
        Markdown.table(["cell", "chosen", "score", "trials"], rows),
    ]
    if any(search.edge for search in searches):
        parts.append(f"\\* {NOTE}.")
    parts.append(
        '"Best of k" is what the best of k trials drawn at random from the grid is expected to score, of the draws in '
        "which one finished: compare methods at the same k, not by their best of unequal grids."
    )
    most = max((len(search.trials) for search in searches), default=0)
    expected = [[f"best of {k}", *(_shown(search.best_of(k)) for search in searches)] for k in range(1, most + 1)]
    parts.append(Markdown.table(["", *(search.label for search in searches)], expected))
    return "\n\n".join(parts) + "\n"


def _score(best: Trial | None) -> str:
    """ "0.9123 ± 0.0045"; without the standard error of one seed; "" without a trial."""
    if best is None:
        return ""
    mean, error = best.score.mean, best.score.stderr
    form = _form(mean)
    return f"{mean:{form}}" + ("" if math.isnan(error) else f" ± {error:{form}}")


def count(search: Search) -> str:
    """The number of trials, and of those that did not finish with all seeds."""
    unfinished = sum(not trial.complete for trial in search.trials)
    return f"{len(search.trials)}" + (f" ({unfinished} unfinished)" if unfinished else "")


def _shown(value: float) -> str:
    return "" if math.isnan(value) else f"{value:{_form(value)}}"


def _form(value: float) -> str:
    """Four decimals, and three significant digits for numbers that these do not suit, as a loss of 2e-8."""
    return ".4f" if value == 0 or 1e-3 <= abs(value) < 1e4 else ".3g"


def _figure(searches: Sequence[Search], criterion: dict[str, Any], path: Path) -> None:
    import matplotlib

    matplotlib.use("agg", force=False)
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullLocator

    from sobench.report.figures import axis, legend, overlap
    from sobench.report.figures.style import DASHES, PALETTE, RC, plain
    from sobench.report.figures.tags import LINE, tag

    with matplotlib.rc_context(RC):
        sheet = Figure(figsize=(6.5, 3.6), layout="constrained", dpi=RC["savefig.dpi"])
        axes = sheet.subplots()
        lines = []
        for place, search in enumerate(searches):
            xs = range(1, len(search.trials) + 1)
            style = {"color": PALETTE[place % len(PALETTE)], "linestyle": DASHES[place // len(PALETTE) % len(DASHES)]}
            lines += axes.plot(
                xs, [search.best_of(k) for k in xs], marker="o", markersize=3, gid=tag(LINE, search.label), **style
            )
        values = [y for line in lines for y in line.get_ydata() if math.isfinite(y)]
        if values and min(values) > 0 and max(values) > WIDE * min(values):
            axes.set_yscale("log")
            axis.number_ticks(axes, "y")
        axes.set_xscale("log")
        axes.set(xlabel="trials k", ylabel=f"expected best {criterion['metric'].replace('_', ' ')} of k")
        places = ks(searches)
        axes.set_xticks(places, labels=[str(place) for place in places])
        axes.xaxis.set_minor_locator(NullLocator())
        common, labels = short_labels([search.label.replace("optimizer.", "") for search in searches])
        axes.set_title(plain(common), loc="left")
        legend.below(sheet, lines, labels)
        layout: Any = sheet.get_layout_engine()
        layout.execute(sheet)
        sheet.set_layout_engine(None)
        overlap.alternate(axes)
        sheet.savefig(path, metadata={"Software": None})


def short_labels(labels: Sequence[str]) -> tuple[str, list[str]]:
    """The words that all labels have, and each label without them."""
    words = [label.split(" ") for label in labels]
    common = [word for word in words[0] if all(word in other for other in words)] if len(words) > 1 else []
    short = [" ".join(word for word in own if word not in common) for own in words]
    return (" ".join(common), short) if all(short) else ("", list(labels))
