"""`sobench parity NAME`: the same algorithm by several packages, from the same weights on the same batches.

Prints the first step at which each implementation differs from the first one, by how much, and the map of the settings.
`sobench.training.parity.comparison` defines the difference. conf/parity/NAME.yaml has the implementations.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from sobench.cli.arguments import check_overrides
from sobench.config import parity as algorithms
from sobench.config import rules
from sobench.config.parity import Algorithm
from sobench.errors import UsageError
from sobench.system.text import plural, table

if TYPE_CHECKING:
    from sobench.config.run import Run
    from sobench.training.parity.comparison import Outcome

STEPS = 30
"""Steps, unless `steps=N` says otherwise."""


def parity(args: argparse.Namespace) -> int:
    """Compare the implementations, and print a table or, with --json, one document.

    Returns 1 if an implementation that is installed fails. Raises UsageError for wrong settings, and if the first
    implementation is not installed.
    """
    algorithm = algorithms.read(args.algorithm)
    steps, given = _steps(check_overrides(args.overrides))
    run = _run(algorithm, given)
    from sobench.training.parity.comparison import compare

    outcomes = compare(algorithm, run, steps)
    if args.json:
        print(json.dumps(_document(algorithm, run, steps, outcomes), indent=2, default=str))
    else:
        print(*_page(algorithm, run, steps, outcomes), sep="\n")
    return int(any(outcome.failure for outcome in outcomes))


def _steps(words: Sequence[str]) -> tuple[int, list[str]]:
    """The number of steps, and the other settings."""
    values = [word.partition("=")[2] for word in words if word.startswith("steps=")]
    steps = int(values[-1]) if values and values[-1].isdecimal() else (values or [STEPS])[-1]
    rules.check("steps", steps, rules.COUNT)
    return int(steps), [word for word in words if not word.startswith("steps=")]


def _run(algorithm: Algorithm, given: Sequence[str]) -> Run:
    """The run of the first implementation."""
    from sobench.config.grid import expand

    runs = expand(algorithms.overrides(algorithm, given))
    if len(runs) > 1:
        raise UsageError(f"parity: got {' '.join(given)}, a sweep of {len(runs)} runs; allowed: one run")
    return runs[0]


# Text


def _page(algorithm: Algorithm, run: Run, steps: int, outcomes: Sequence[Outcome]) -> Iterator[str]:
    from sobench.training.parity.comparison import TOLERANCE

    problem = f"dataset {run.label('dataset')}, model {run.label('model')}, {run.config['dtype']}"
    yield f"{algorithm.name}: {problem}, {plural(steps, 'step')}, seed {run.seed}"
    compared = algorithm.compares if isinstance(algorithm.compares, str) else f"factors {', '.join(algorithm.compares)}"
    yield f"compared: {compared}; `differs`: the first step with a difference above {TOLERANCE:g}"
    yield ""
    rows = [("implementation", "package", "differs", "by", "at the end")]
    rows += [_row(outcome, outcome is outcomes[0]) for outcome in outcomes]
    yield from table(rows)
    for one in algorithm.implementations:
        if not one.is_installed:
            yield f"{one.label}: not installed: pip install {one.requirement}"
    for outcome in outcomes:
        if outcome.failure:
            yield f"{outcome.implementation.label} fails: {outcome.failure}"
    for outcome in outcomes:
        yield ""
        yield from _map(algorithm, outcomes[0], outcome)


def _row(outcome: Outcome, is_reference: bool) -> tuple[str, str, str, str, str]:
    one = outcome.implementation
    package = f"{one.package} {outcome.version}".strip()
    if is_reference:
        return one.label, package, "compared with", "", ""
    step = f"step {outcome.first}" if outcome.first else "fails" if outcome.failure else "no"
    return one.label, package, step, _number(outcome.there), _number(outcome.end)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.1e}"


def _map(algorithm: Algorithm, reference: Outcome, outcome: Outcome) -> Iterator[str]:
    """The map of the settings of one implementation."""
    one = outcome.implementation
    is_reference = outcome is reference
    yield one.label if is_reference else f"{reference.implementation.label} -> {one.label}"
    for name, theirs in one.counterparts(algorithm.settings).items():
        ours = f"{name} = {_text(reference.settings[name])}"
        if is_reference:
            yield f"  {ours}"
        else:
            yield f"  {ours} -> {_pairs({key: outcome.settings.get(key) for key in theirs}) or 'no counterpart'}"
    neutral = _neutral(outcome)
    yield from [f"  without a counterpart, neutral: {_pairs(neutral)}"] if neutral else []
    yield from [f"  left at their defaults: {_pairs(outcome.defaults)}"] if outcome.defaults else []
    yield from [f"  known to differ: {one.differs}"] if one.differs else []


def _neutral(outcome: Outcome) -> dict[str, Any]:
    """The settings without a counterpart, and the further keys of the parameter group."""
    one = outcome.implementation
    return {**{key: outcome.settings[key] for key in one.neutral}, **one.group}


def _pairs(settings: dict[str, Any]) -> str:
    return ", ".join(f"{key} = {_text(value)}" for key, value in settings.items())


def _text(value: Any) -> str:
    return json.dumps(value, default=str)


# One document


def _document(algorithm: Algorithm, run: Run, steps: int, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    from sobench.training.parity.comparison import TOLERANCE

    found = {id(outcome.implementation): outcome for outcome in outcomes}
    entries = [
        _entry(algorithm, outcomes[0], found[id(one)])
        if id(one) in found
        else {"name": one.name, "label": one.label, "package": one.package, "requirement": one.requirement}
        | {"installed": False}
        for one in algorithm.implementations
    ]
    return {
        "algorithm": algorithm.name,
        "dataset": run.config["dataset"],
        "model": run.config["model"],
        "dtype": run.config["dtype"],
        "seed": run.seed,
        "steps": steps,
        "compared": algorithm.compares,
        "tolerance": TOLERANCE,
        "settings": {name: outcomes[0].settings[name] for name in algorithm.settings},
        "implementations": entries,
    }


def _entry(algorithm: Algorithm, reference: Outcome, outcome: Outcome) -> dict[str, Any]:
    one = outcome.implementation
    return {
        "name": one.name,
        "label": one.label,
        "package": one.package,
        "version": outcome.version,
        "installed": True,
        "compared_with": outcome is reference,
        "first_step": outcome.first,
        "difference_there": outcome.there,
        "difference_at_the_end": outcome.end,
        "failure": outcome.failure or None,
        "settings": outcome.settings,
        "counterparts": one.counterparts(algorithm.settings),
        "neutral": _neutral(outcome),
        "defaults": outcome.defaults,
        "known_to_differ": one.differs or None,
    }
