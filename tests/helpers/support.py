"""The page docs/models.md: the models that each optimizer takes, and the reasons of its refusals."""

from __future__ import annotations

import re
from collections.abc import Mapping

from sobench.system.files import CHECKOUT

PAGE = CHECKOUT / "docs/models.md"
TITLE = "## Refusals\n"
INTRODUCTION = """\
# Models

This page is written by a test (`make support`). The test takes two steps of every optimizer on each of {models} small
models in float64. Each model is written twice: as its users write it, and by sums, products, exp and relu. Methods
that look at layers get Linear layers as the second way, where there is one.

- `x`: the steps of both are equal to {tolerance:g}, relative to their length.
- `-`: the optimizer refuses the model in one line, before it moves a parameter. The reasons are below.

There is no third outcome.

"""

Outcome = Mapping[str, str]
"""{optimizer: the reason of its refusal}, of one model."""


def render(outcomes: Mapping[str, Outcome], optimizers: list[str], tolerance: float) -> str:
    """The page for {feature: outcome}."""
    columns: dict[tuple[bool, ...], list[str]] = {}
    for name in optimizers:
        columns.setdefault(tuple(name in refused for refused in outcomes.values()), []).append(name)
    lines = ["| model | " + " | ".join("<br>".join(names) for names in columns.values()) + " |"]
    lines.append("|---|" + ":-:|" * len(columns))
    for i, feature in enumerate(outcomes):
        lines.append(f"| {feature} | " + " | ".join("-" if column[i] else "x" for column in columns) + " |")
    reasons = ["| model | optimizers | reason |", "|---|---|---|"]
    for feature, refused in outcomes.items():
        for reason in dict.fromkeys(refused.values()):
            names = ", ".join(name for name in optimizers if refused.get(name) == reason)
            reasons.append(f"| {feature} | {names} | {_escaped(reason)} |")
    text = INTRODUCTION.format(models=len(outcomes), tolerance=tolerance)
    return text + "\n".join(lines) + f"\n\n{TITLE}\n" + "\n".join(reasons) + "\n"


def recorded() -> dict[str, dict[str, str]]:
    """{feature: outcome} as the page has it."""
    matrix, _, reasons = PAGE.read_text().partition(TITLE)
    outcomes: dict[str, dict[str, str]] = {feature: {} for feature in re.findall(r"^\| (.+?) \| [x-] ", matrix, re.M)}
    for feature, names, reason in re.findall(r"^\| (?!model )(.+?) \| (.+?) \| (.+) \|$", reasons, re.M):
        outcomes[feature] |= dict.fromkeys(names.split(", "), reason.replace("\\|", "|"))
    return outcomes


def _escaped(reason: str) -> str:
    return reason.replace("|", "\\|")
