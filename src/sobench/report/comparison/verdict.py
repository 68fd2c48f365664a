"""The sentences of a comparison: who is faster, on what the ranks depend, and what the comparison cannot say.

`sobench.report.comparison.undecided` says what would decide the rest.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from sobench.report.comparison.analysis import LOSS, TIE, WIN, WITHOUT, OnAxis, Pair
from sobench.report.comparison.bootstrap import FEWEST_PROBLEMS, PROBLEMS
from sobench.report.comparison.study import Problem, Study
from sobench.report.holm import ALPHA
from sobench.results.axes import AXES, COST_AXES, is_time
from sobench.system.text import either, plural

FASTER, SLOWER, UNDECIDED = "faster", "slower", "undecided"
EVEN = 0.5
"""P(faster) of two methods that are alike."""
FEW_SEEDS = 5
SHORT = 0.25
"""A method is said to be judged on a part of its runs only if the horizon is less than this share of them."""
NAMES = {axis: text.partition(" (")[0] for axis, text in AXES.items()}


def answer(pair: Pair) -> str:
    """FASTER or SLOWER if the interval of the ratio excludes 1, the adjusted p value is below ALPHA, and P(faster) is
    on the same side: the ratio alone calls a method faster that is fast on one problem and misses the other targets.
    """
    ratio, better = pair.ratio, pair.better.mean
    if not (ratio.known and pair.adjusted < ALPHA):
        return UNDECIDED
    if ratio.high < 1 and better > EVEN:
        return FASTER
    return SLOWER if ratio.low > 1 and better < EVEN else UNDECIDED


def sentence(study: Study, axis: str, pair: Pair) -> str:
    """ "kfac reaches the target in 0.62 times the work of adamw [0.45, 0.86]: faster (6 wins, 1 tie, 1 loss)" """
    where = "problems like these" if pair.ratio.over == PROBLEMS else "these problems"
    if len(study.problems) == 1:
        where = study.problems[0].name
    text = f"{pair.method} needs {pair.ratio.mean:.3g} times the {NAMES[axis]} of {study.baseline}{interval(pair)}"
    text += f": {answer(pair)} on {where}"
    if len(study.problems) > 1:
        nouns = {WIN: ("win", "wins"), TIE: ("tie", "ties"), LOSS: ("loss", "losses")}
        counts = [f"{pair.count(outcome)} {nouns[outcome][pair.count(outcome) != 1]}" for outcome in nouns]
        text += f" ({', '.join(counts)})"
    if not math.isnan(pair.adjusted):
        text += f", p = {pair.adjusted:.2g}"
    return text + "."


def interval(pair: Pair) -> str:
    return f" [{pair.ratio.low:.3g}, {pair.ratio.high:.3g}]" if pair.ratio.known else " (interval unknown)"


def ranks(study: Study, numbers: OnAxis) -> list[str]:
    """ "Rank of kfac is not stable: leaves 2nd for 4th without resnet32 or vgg16." """
    lines = []
    for rank in numbers.ranks:
        changes_of: dict[tuple[int, int], list[str]] = {}
        for change, move in rank.moves.items():
            changes_of.setdefault(move, []).append(change)
        moves = [f"leaves {ordinal(old)} for {ordinal(new)} {_any_of(of)}" for (old, new), of in changes_of.items()]
        if moves:
            lines.append(f"Rank of {rank.method} is not stable: {'; '.join(moves)}.")
    changes = len(study.problems) * (len(study.problems) > 1) + len(study.methods) * (len(study.methods) > 2) + 2
    return lines or [f"No rank changes in any of {changes} small changes (a problem, a method, or 2 % of the target)."]


def _any_of(changes: Sequence[str]) -> str:
    """ "without mlp or deep, or with a target 2% harder" """
    left_out = [change.removeprefix(WITHOUT) for change in changes if change.startswith(WITHOUT)]
    other = [change for change in changes if not change.startswith(WITHOUT)]
    return ", or ".join([*([WITHOUT + either(left_out)] if left_out else []), *other])


def ordinal(number: int) -> str:
    """ "1st", "12th", "23rd" """
    in_teens = number // 10 % 10 == 1
    ending = "th" if in_teens else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def limits(study: Study) -> list[str]:
    """What the comparison cannot say."""
    problems, lines = study.problems, []
    if len(problems) < FEWEST_PROBLEMS:
        count = plural(len(problems), "problem")
        lines.append(
            f"{count}: the intervals are about these alone. From {FEWEST_PROBLEMS} on they are about all like them."
        )
    fewest = min(len(problem.seeds) for problem in problems)
    if fewest < FEW_SEEDS:
        lines.append(
            f"{plural(fewest, 'seed')} on the problem with the fewest: intervals of a problem are wide or unknown."
        )
    setters = {problem.target_from for problem in problems if "median" in problem.target_from}
    if setters:
        lines.append(
            f"The target is {next(iter(setters))}, so half of its seeds reach it by definition, and late in their runs."
        )
    lines += [*_tuning(study), *_parts(study)]
    if "work" in study.axes:
        lines.append("Work counts passes over samples, and not matrix products or factorizations of the optimizer.")
    lines += [f"By {NAMES[axis]}, warm starts are left out." for axis in study.axes if axis in ("cost", "seconds")]
    if {*COST_AXES} & {*study.axes}:
        lines.append("Costs are medians over steps on one machine, whose own error the intervals do not have.")
    if not ({*COST_AXES} & {*study.axes} or is_time(*study.axes)):
        lines.append(
            "There is no axis of time: none was asked for, or other work disturbed the times and the costs are not "
            "measured (`--axis total_cost` names the command)."
        )
    return lines


def _tuning(study: Study) -> list[str]:
    lines = []
    untuned = _where(study, lambda tuned: not tuned)
    if untuned:
        lines.append(f"Not tuned, as far as is recorded: {untuned}.")
    edges = _where(study, lambda tuned: bool(tuned.get("edge")))
    if edges:
        lines.append(f"Best setting on the edge of its grid, so that a better one may lie beyond: {edges}.")
    trials = [
        {method: entry.tuned["trials"] for method, entry in problem.entries.items() if "trials" in entry.tuned}
        for problem in study.problems
    ]
    if any(len({*of_problem.values()}) > 1 for of_problem in trials):
        counts = {method: sorted({own[method] for own in trials if method in own}) for method in study.methods}
        listed = ", ".join(f"{method} {_range(own)}" for method, own in counts.items() if own)
        each = "" if len(study.problems) == 1 else " on each problem"
        lines.append(f"Unequal numbers of tuning trials{each}: {listed}.")
    return lines


def _range(numbers: Sequence[int]) -> str:
    """ "6", "6 to 20": ascending numbers."""
    return " to ".join(map(str, dict.fromkeys((numbers[0], numbers[-1]))))


def _where(study: Study, condition: Callable[[Mapping[str, Any]], bool]) -> str:
    """ "sgd on digits, vit; mine, kfac on all problems" """
    by_place: dict[str, list[str]] = {}
    for method in study.methods:
        names = [problem.name for problem in study.problems if condition(problem.entries[method].tuned)]
        if names:
            everywhere = len(names) == len(study.problems) > 1
            by_place.setdefault("all problems" if everywhere else ", ".join(names), []).append(method)
    return "; ".join(f"{', '.join(methods)} on {place}" for place, methods in by_place.items())


def _parts(study: Study) -> list[str]:
    """The methods that are judged on the beginning of their runs, as others were given less."""
    lines = []
    for axis in study.axes:
        texts = []
        for method in study.methods:
            shares = [_share(problem, method, axis) for problem in study.problems]
            short = sorted(share for share in shares if share < SHORT)
            if short:
                percents = dict.fromkeys(f"{share:.0%}" for share in (short[0], short[-1]))
                texts.append(f"{method} ({' to '.join(percents)} of its runs, on {plural(len(short), 'problem')})")
        if texts:
            lines.append(
                f"By {NAMES[axis]}, judged on their beginning only, up to the horizon: {', '.join(texts)}. The horizon "
                f"is where the runs of {', '.join(_shortest(study, axis))} end; longer ones would move it."
            )
    return lines


def _shortest(study: Study, axis: str) -> list[str]:
    """The methods whose runs set the horizon of the problems on which others are judged on their beginning."""
    short = [
        problem for problem in study.problems if any(_share(problem, name, axis) < SHORT for name in study.methods)
    ]
    return [
        name
        for name in study.methods
        if any(problem.horizon(axis) in problem.entries[name].ends[axis] for problem in short)
    ]


def _share(problem: Problem, method: str, axis: str) -> float:
    """The part of the median run of a method that lies before the horizon; NaN if all diverged."""
    ends = problem.entries[method].ends[axis]
    return problem.horizon(axis) / float(np.nanmedian(ends)) if np.isfinite(ends).any() else math.nan


def summary(study: Study, axis: str, pairs: Sequence[Pair]) -> str:
    """ "By work: sgd, shampoo faster than adamw; kfac undecided." """
    by_answer: dict[str, list[str]] = {}
    for pair in pairs:
        by_answer.setdefault(answer(pair), []).append(pair.method)
    texts = [
        f"{', '.join(by_answer[word])} {word}" + (f" than {study.baseline}" if word != UNDECIDED else "")
        for word in (FASTER, SLOWER, UNDECIDED)
        if word in by_answer
    ]
    return f"By {NAMES[axis]}: {'; '.join(texts)}."
