"""The tables and texts of a comparison, in an order for people; printed, and written as Markdown and LaTeX.

`sobench.report.comparison.web_page` makes the page for a browser from the same sections.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from sobench.report.comparison import verdict
from sobench.report.comparison.analysis import LOSS, TIE, WIN, OnAxis, Pair, on_axis
from sobench.report.comparison.bootstrap import PROBLEMS, Estimate
from sobench.report.comparison.sensitivity import close_range
from sobench.report.comparison.study import TARGET, Entry, Problem, Study
from sobench.report.comparison.survival import Reached
from sobench.report.comparison.undecided import Undecided, cheapest, undecided
from sobench.report.formats import Latex, Markdown
from sobench.report.paired import NONE, between, interval
from sobench.report.parts import shown
from sobench.results.axes import AXES
from sobench.system import text
from sobench.system.beside import each

DASH = "–"
FEW = 2
"""So many undecided pairs have a sentence each; of more, the cheapest to decide do."""


@dataclass(frozen=True)
class Behind:
    """What is behind a number: each seed with its value in words, and the hash of the configuration."""

    seeds: list[tuple[str, str]]
    cell: str


@dataclass(frozen=True)
class Section:
    """A heading, sentences, and a table. main: whether the terminal shows it too. behind: by row and column of the
    table, what a page for a browser opens at a number."""

    title: str
    texts: list[str] = field(default_factory=list)
    head: list[str] = field(default_factory=list)
    rows: list[list[str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    main: bool = True
    behind: dict[tuple[int, int], Behind] = field(default_factory=dict)


@dataclass(frozen=True)
class Page:
    """Everything that is shown of a study. numbers: by axis."""

    study: Study
    numbers: dict[str, OnAxis]
    sections: list[Section]


def page(study: Study) -> Page:
    """All numbers of a study and its sections."""
    found = each(partial(_on_axis, study), study.axes)
    numbers = {axis: of_axis for axis, (of_axis, _) in zip(study.axes, found, strict=True)}
    main = study.axes[-1]
    sections = [_verdict(study, numbers, [one for _, open in reversed(found) for one in open])]
    for axis in reversed(study.axes):
        of_axis = [_times(study, numbers[axis]), _pairs(study, numbers[axis]), _ranks(study, numbers[axis])]
        sections += [replace(section, main=axis == main) for section in of_axis]
    sections += [_final(study), _settings(study), Section("What this cannot say", verdict.limits(study))]
    return Page(study, numbers, sections)


def _on_axis(study: Study, axis: str) -> tuple[OnAxis, list[Undecided]]:
    """All numbers on one axis, and what would decide the pairs that they leave open."""
    numbers = on_axis(study, axis)
    return numbers, undecided(study, axis, numbers.pairs)


def _verdict(study: Study, numbers: dict[str, OnAxis], found: list[Undecided]) -> Section:
    """Who is faster on each axis, and what would decide the others: of more than FEW, the cheapest and a table."""
    axes = list(reversed(study.axes))
    pairs = {axis: numbers[axis].pairs for axis in axes}
    texts = [verdict.summary(study, axis, pairs[axis]) for axis in axes]
    texts += [verdict.sentence(study, axis, pair) for axis in axes for pair in pairs[axis] if _is_decided(pair)]
    first = found if len(found) <= FEW else cheapest(found)[:FEW]
    texts += [one.sentence for one in first]
    if len(found) <= FEW:
        return Section("Verdict", [*texts, *study.left_out])
    brief = {(one.pair.method, one.axis): one.brief for one in found}
    answers = {(pair.method, axis): verdict.answer(pair) for axis in axes for pair in pairs[axis]} | brief
    rows = [[method, *(answers[method, axis] for axis in axes)] for method in study.rivals]
    needs = "problems" if any(one.noun == "problem" for one in found) else "seeds of each problem"
    note = (
        f"Faster or slower than {study.baseline}; or what would decide it: about so many more {needs}, and the time of "
    )
    note += "training that they take. No difference: the runs show none that more would decide."
    if any(one.contradicts for one in found):
        note += " Contradictory: the ratio and P(faster) are on different sides."
    return Section("Verdict", [*texts, *study.left_out], ["method", *map(_by, axes)], rows, [note])


def _is_decided(pair: Pair) -> bool:
    return verdict.answer(pair) != verdict.UNDECIDED


def _by(axis: str) -> str:
    return f"by {verdict.NAMES[axis]}"


def _times(study: Study, numbers: OnAxis) -> Section:
    rows, behind = [], {}
    for place, problem in enumerate(study.problems):
        reached = numbers.summaries[problem.name]
        best = min((reached[method].median for method in study.methods), default=math.inf)
        cells = [
            _bold(time_text(reached[method]), reached[method].median == best < math.inf) for method in study.methods
        ]
        target = f"{problem.metric} {'≤' if problem.better == 'lower' else '≥'} {problem.levels[TARGET]:.4g}"
        rows.append([problem.name, target, *cells, f"{problem.horizon(numbers.axis):.3g}"])
        for column, method in enumerate(study.methods, 2):
            behind[place, column] = _behind(problem.entries[method], problem.times(numbers.axis, method))
    notes = [
        "Median over the seeds (Kaplan and Meier), its 95 % interval, and the seeds that reached the target; > : "
        "half of the seeds or more were not there at the horizon, up to which every method was run.",
        *dict.fromkeys(f"Target: {problem.target_from}." for problem in study.problems),
    ]
    head = ["problem", "target", *study.methods, "horizon"]
    title = f"{_capital(AXES[numbers.axis])} to the target"
    return Section(title, [], head, rows, notes, behind=behind)


def _behind(entry: Entry, values: np.ndarray) -> Behind:
    """Each seed of a method on a problem with its value; infinite ones were not reached, or diverged."""
    texts = [f"{value:.6g}" if math.isfinite(value) else "not reached" for value in values]
    return Behind([(str(seed), text) for seed, text in zip(entry.seeds, texts, strict=True)], entry.cell)


def time_text(reached: Reached) -> str:
    """ "12.3 [10, 15] 4/5", "> 2/5" """
    count = f"{reached.hit}/{reached.seeds}"
    if math.isinf(reached.median):
        return f"> {count}"
    if math.isnan(reached.low):
        return f"{reached.median:.3g} {count}"
    high = "…" if math.isinf(reached.high) else f"{reached.high:.3g}"
    return f"{reached.median:.3g} [{reached.low:.3g}, {high}] {count}"


def _pairs(study: Study, numbers: OnAxis) -> Section:
    rows = [
        [
            pair.method,
            _estimate(pair.ratio),
            _estimate(pair.better),
            *(str(pair.count(outcome)) for outcome in (WIN, TIE, LOSS)),
            _p(pair.p),
            _p(pair.adjusted),
            f"{pair.bounds}, {pair.open} of {pair.pairs}",
            verdict.answer(pair),
        ]
        for pair in numbers.pairs
    ]
    over = "problems and seeds" if any(pair.ratio.over == PROBLEMS for pair in numbers.pairs) else "seeds"
    test = "exact Wilcoxon test over problems" if "problems" in over else "that of the bootstrap"
    notes = [
        f"Ratio: geometric mean over problems of the times over those of {study.baseline} on the same seed, cut at "
        f"the horizon; below 1 is faster. Intervals of 95 % by the studentized bootstrap over {over}. P(faster): on "
        f"one seed, ties counted half. Wins: problems on which the paired test at 2.5 % says faster. p: {test}; "
        "adjusted by Holm's method over the methods. Missed: pairs of seeds of which one, and of which both, missed "
        "the target: their ratio errs towards 1.",
    ]
    head = ["method", "ratio", "P(faster)", "wins", "ties", "losses", "p", "adjusted p", "missed", "answer"]
    return Section(f"Beside {study.baseline}, by {verdict.NAMES[numbers.axis]}", [], head, rows, notes)


def _estimate(estimate: Estimate) -> str:
    if math.isnan(estimate.mean):
        return DASH
    return f"{estimate.mean:.3g}" + (f" [{estimate.low:.3g}, {estimate.high:.3g}]" if estimate.known else "")


def _p(p: float) -> str:
    return DASH if math.isnan(p) else f"{p:.2g}"


def _ranks(study: Study, numbers: OnAxis) -> Section:
    rows = []
    for rank in numbers.ranks:
        place = study.methods.index(rank.method)
        width = numbers.profiles.width[place]
        others = sorted({new for _, new in rank.moves.values()})
        moved = f"to {text.either(map(verdict.ordinal, others))}" if rank.moves else "stable"
        at_one = numbers.profiles.shares[place, 0]
        rows.append([str(rank.rank), rank.method, f"{rank.score:.3f}", f"{at_one:.0%}", _width(width), moved])
    notes = [
        "Score: the mean of the performance profile over the logarithm of the factor, from 1 to 4. Fastest: the "
        "share of seeds and problems on which the method is the fastest. Band: half the width of the simultaneous 95 "
        "% band of its profile. Moves: the rank where a problem, a method, or 2 % of the target is taken away."
    ]
    head = ["rank", "method", "score", "fastest", "band", "moves"]
    title = f"Ranks, by {verdict.NAMES[numbers.axis]}"
    return Section(title, verdict.ranks(study, numbers), head, rows, notes)


def _width(width: float) -> str:
    return DASH if math.isnan(width) else f"± {width:.2f}"


def _final(study: Study) -> Section:
    """The last value of the metric, and its paired difference to that of the baseline."""
    rows, behind = [], {}
    for problem in study.problems:
        for method in study.methods:
            entry = problem.entries[method]
            behind[len(rows), 2] = _behind(entry, entry.final)
            finite = entry.final[np.isfinite(entry.final)]
            mean = f"{finite.mean():.4g}" if len(finite) else DASH
            diverged = len(entry.final) - len(finite)
            row = [problem.name, method, mean, f"{len(finite)}/{len(entry.final)}" + _diverged(diverged)]
            rows.append([*row, *_difference(study, problem, method)])
    notes = [
        "Last value of the metric of the target, mean over the seeds that did not diverge; difference to "
        f"{study.baseline} on the same seeds with its 95 % interval (Student) and the p value of two sides; a "
        "diverged run counts as worse than any. Not compared where the method was run for another number of epochs."
    ]
    head = ["problem", "method", "final", "n", f"minus {study.baseline}", "p"]
    return Section("Final values", [], head, rows, notes, main=False, behind=behind)


def _diverged(count: int) -> str:
    return f" ({count} diverged)" if count else ""


def _difference(study: Study, problem: Problem, method: str) -> tuple[str, str]:
    """The paired difference of the final values with its interval, and its p value."""
    baseline = problem.entries[study.baseline]
    if method == study.baseline:
        return DASH, DASH
    entry = problem.entries[method]
    if not _same_length(entry.ends.get("step"), baseline.ends.get("step")):
        return "other budget", DASH
    seeds = problem.shared(method, study.baseline)
    with np.errstate(invalid="ignore"):
        sample = entry.on(seeds, entry.final) - baseline.on(seeds, baseline.final)
    decision = between(sample, high=0.0)
    finite = bool(np.isfinite(sample).all()) and len(sample) > 0
    low, high = interval(sample)
    said = shown(float(sample.mean())) if finite else "diverged"
    said += f" [{shown(low)}, {shown(high)}]" if math.isfinite(low) else ""
    return said, DASH if decision.test == NONE else f"{min(1.0, 2 * min(decision.p_holds, decision.p_fails)):.2g}"


def _same_length(ours: np.ndarray | None, theirs: np.ndarray | None) -> bool:
    """Whether two methods made equally many steps, as far as any run did not diverge."""
    if ours is None or theirs is None or np.isnan(ours).all() or np.isnan(theirs).all():
        return True
    return bool(np.nanmax(ours) == np.nanmax(theirs))


def _settings(study: Study) -> Section:
    """The settings of each method on each problem, how they were chosen, and how much the learning rate matters."""
    rows = []
    for problem in study.problems:
        for method in study.methods:
            entry = problem.entries[method]
            tuned = entry.tuned
            trials = str(tuned.get("trials", DASH))
            edge = ", ".join(key.rpartition(".")[2] for key in tuned.get("edge", ())) or DASH
            close = close_range(entry.tried, str(tuned.get("better", "lower")))
            own = study.own(problem, method) or DASH
            rows.append([problem.name, method, own, trials, edge, str(close) if close else DASH])
    notes = [
        "Trials: settings that were tried on other seeds; – means that none are recorded. Edge: the chosen value is "
        "the smallest or largest of its grid. Close rates: the learning rates whose best loss over the other "
        "settings is within 1.5 times the best of all."
    ]
    texts = [f"On all problems, {method}: {', '.join(words)}." for method, words in study.shared.items() if words]
    head = ["problem", "method", "settings", "trials", "edge", "close rates"]
    return Section("Settings", texts, head, rows, notes, main=False)


def _bold(words: str, best: bool) -> str:
    return f"*{words}*" if best else words


def _capital(words: str) -> str:
    return words[0].upper() + words[1:]


# Forms


def for_terminal(shown: Page) -> list[str]:
    """The lines of the sections that a terminal shows."""
    lines = [shown.study.title, ""]
    for section in shown.sections:
        if section.main:
            lines += [section.title, *(f"  {sentence}" for sentence in section.texts)]
            if section.rows:
                lines += [f"  {line}" for line in text.table([section.head, *section.rows])]
            lines.append("")
    return lines


def to_markdown(shown: Page, figure: str) -> str:
    study = shown.study
    runs = sum(len(entry.runs) for problem in study.problems for entry in problem.entries.values())
    facts = [
        f"- Methods: {', '.join(map(Markdown.escape, study.methods))}; baseline {Markdown.escape(study.baseline)}",
        *(f"- {Markdown.escape(problem.name)}: {Markdown.escape(problem.title)}" for problem in study.problems),
        f"- Runs: {runs:,}; made with `{study.command}`",
        *(f"- {key.replace('_name', '')}: {', '.join(counts)}" for key, counts in study.versions.items()),
    ]
    parts = [f"# {Markdown.escape(study.title)}", "\n".join(facts), f"![performance profiles]({figure})"]
    for section in shown.sections:
        parts.append(f"## {Markdown.escape(section.title)}")
        parts += ["\n".join(f"- {Markdown.escape(sentence)}" for sentence in section.texts)] if section.texts else []
        if section.rows:
            rows = [[_starred(cell) for cell in row] for row in section.rows]
            parts.append(Markdown.table([Markdown.escape(word) for word in section.head], rows))
        parts += [Markdown.escape(note) for note in section.notes]
    return "\n\n".join(parts) + "\n"


def _starred(cell: str) -> str:
    words, best = unmarked(cell)
    return f"**{Markdown.escape(words)}**" if best else Markdown.escape(words)


def unmarked(cell: str) -> tuple[str, bool]:
    """The words of a cell, and whether it is marked as the best."""
    best = len(cell) > 1 and cell[0] == cell[-1] == "*"
    return (cell[1:-1] if best else cell), best


def to_latex(shown: Page) -> str:
    """A booktabs table for each section that has one."""
    return "\n\n".join(_latex(section) for section in shown.sections if section.rows) + "\n"


def _latex(section: Section) -> str:
    rows = [[_in_latex(cell) for cell in row] for row in section.rows]
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{Latex.escape(section.title)}}}",
        rf"\begin{{tabular}}{{{'l' * len(section.head)}}}",
        r"\toprule",
        " & ".join(map(Latex.escape, section.head)) + r" \\",
        r"\midrule",
        *(" & ".join(row) + r" \\" for row in rows),
        r"\bottomrule",
        r"\end{tabular}",
        *(rf"\par\smallskip\footnotesize {Latex.escape(note)}" for note in section.notes),
        r"\end{table}",
    ]
    return "\n".join(lines)


def _in_latex(cell: str) -> str:
    words, best = unmarked(cell)
    return rf"\textbf{{{Latex.escape(words)}}}" if best else Latex.escape(words)
