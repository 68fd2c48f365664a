"""The sentences of a comparison: who is faster, what would decide the rest, and what the comparison cannot say."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from sobench.report.comparison.analysis import LOSS, TIE, WIN, OnAxis, Pair
from sobench.report.comparison.bootstrap import FEWEST_PROBLEMS, PROBLEMS
from sobench.report.comparison.study import Problem, Study
from sobench.report.holm import ALPHA
from sobench.report.paired import needed
from sobench.results.axes import AXES
from sobench.system.text import format_duration, plural

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
    text = f"{pair.method} needs {pair.ratio.mean:.3g} times the {NAMES[axis]} of {study.baseline}{_interval(pair)}"
    text += f": {answer(pair)} on {where}"
    if len(study.problems) > 1:
        nouns = {WIN: ("win", "wins"), TIE: ("tie", "ties"), LOSS: ("loss", "losses")}
        counts = [f"{pair.count(outcome)} {nouns[outcome][pair.count(outcome) != 1]}" for outcome in nouns]
        text += f" ({', '.join(counts)})"
    if not math.isnan(pair.adjusted):
        text += f", p = {pair.adjusted:.2g}"
    return text + "."


def _interval(pair: Pair) -> str:
    return f" [{pair.ratio.low:.3g}, {pair.ratio.high:.3g}]" if pair.ratio.known else " (interval unknown)"


def more(study: Study, axis: str, pair: Pair) -> str:
    """What would decide an undecided pair, if the truth is what the runs show; "" for one that is decided."""
    if answer(pair) != UNDECIDED:
        return ""
    if pair.adjusted < ALPHA:
        return (
            f"{pair.method}, undecided by {NAMES[axis]}: the ratio {pair.ratio.mean:.3g}{_interval(pair)} and "
            f"P(faster) {pair.better.mean:.3g} contradict each other."
        )
    samples = [_log_ratios(problem, axis, pair.method, study.baseline) for problem in study.problems]
    samples = [sample for sample in samples if len(sample)]
    level = ALPHA / 2 / len(study.rivals)  # two sides; Holm's method asks this of the first method
    by_problem = len(samples) >= FEWEST_PROBLEMS
    have, enough = _problems(samples, level) if by_problem else _seeds(samples, level)
    if enough is None:
        return f"{pair.method}, undecided by {NAMES[axis]}: the runs show no difference that more would decide."
    count = max(1, enough - have)
    seconds = sum(problem.entries[name].seconds for problem in study.problems for name in (pair.method, study.baseline))
    if by_problem:
        seconds *= float(np.mean([len(sample) for sample in samples])) / len(samples)
    time = "" if math.isnan(seconds) else f" ({format_duration(count * seconds)} of training)"
    of_each = " of each problem" if len(samples) > 1 and not by_problem else ""
    words = f"about {plural(count, 'more problem' if by_problem else 'more seed')}{of_each}"
    return f"{pair.method}, undecided by {NAMES[axis]}: {words} would decide it{time}."


def _problems(samples: Sequence[np.ndarray], level: float) -> tuple[int, int | None]:
    """The number of problems, and the number that would decide at this level; None if none would."""
    return len(samples), needed(np.array([sample.mean() for sample in samples]), 0.0, level)


def _seeds(samples: Sequence[np.ndarray], level: float) -> tuple[int, int | None]:
    """The seeds of the problem with the fewest, and the number for each problem that would decide at this level.

    The seeds of all problems are taken as one sample, with the spread that they have within the problems.
    """
    if not samples:
        return 0, None
    centre = float(np.mean([sample.mean() for sample in samples]))
    total = needed(np.concatenate([sample - sample.mean() + centre for sample in samples]), 0.0, level)
    enough = None if total is None else max(FEW_SEEDS, -(-total // len(samples)))
    return min(map(len, samples)), enough


def _log_ratios(problem: Problem, axis: str, method: str, baseline: str) -> np.ndarray:
    ours, theirs = (np.minimum(times, problem.horizon(axis)) for times in problem.paired(axis, method, baseline))
    return np.log(ours) - np.log(theirs)


def ranks(study: Study, numbers: OnAxis) -> list[str]:
    """ "rank of kfac is not stable: leaves 2nd for 4th without resnet32" """
    lines = []
    for rank in numbers.ranks:
        if rank.moves:
            moves = [f"leaves {ordinal(old)} for {ordinal(new)} {change}" for change, (old, new) in rank.moves.items()]
            lines.append(f"Rank of {rank.method} is not stable: {'; '.join(moves)}.")
    changes = len(study.problems) * (len(study.problems) > 1) + len(study.methods) * (len(study.methods) > 2) + 2
    return lines or [f"No rank changes in any of {changes} small changes (a problem, a method, or 2 % of the target)."]


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
    if not {"cost", "seconds", "total_seconds"} & {*study.axes}:
        lines.append(
            "There is no axis of time: the times are disturbed by other work, or the cost of a step is not measured "
            "(`sobench bench cells`)."
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
    for problem in study.problems:
        trials = {method: entry.tuned.get("trials") for method, entry in problem.entries.items() if entry.tuned}
        if len(set(trials.values())) > 1:
            listed = ", ".join(f"{method} {count}" for method, count in trials.items())
            lines.append(f"Unequal numbers of tuning trials on {problem.name}: {listed}.")
    return lines


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
            lines.append(f"By {NAMES[axis]}, judged on their beginning only, up to the horizon: {', '.join(texts)}.")
    return lines


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


def verdicts(study: Study, axis: str, pairs: Sequence[Pair]) -> list[str]:
    """A sentence for each rival that is decided, and what would decide the others."""
    decided = [sentence(study, axis, pair) for pair in pairs if answer(pair) != UNDECIDED]
    return [*decided, *filter(None, (more(study, axis, pair) for pair in pairs))]
