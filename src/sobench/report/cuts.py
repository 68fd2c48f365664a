"""The methods that were given fewer epochs than the others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sobench.results.state import State

if TYPE_CHECKING:
    from sobench.config.run import Run


@dataclass(frozen=True)
class Cut:
    """A method that was given fewer epochs than the others: it made `steps` of the `of` steps of the others' epochs."""

    steps: int
    of: int

    def __str__(self) -> str:
        return f"cut to {self.steps:,} of {self.of:,} steps"


def cuts(done: Mapping[str, list[Run]], states: Mapping[str, State]) -> dict[str, Cut]:
    """The methods whose finished runs made fewer epochs than those of the others, by more than 1 %.

    done: the finished runs by method. Runs that share one budget in seconds alone are meant to differ in epochs: none
    is cut.
    """
    budgets = [run.config.get("budget", {}) for runs in done.values() for run in runs]
    in_seconds = all(b.get("seconds") and not (b.get("epochs") or b.get("steps")) for b in budgets)
    if budgets and in_seconds and len({b["seconds"] for b in budgets}) == 1:
        return {}
    made = {method: [states[run.id] for run in runs] for method, runs in done.items()}
    epochs = {method: min(state.epoch or 0.0 for state in of_method) for method, of_method in made.items()}
    steps = {method: min(state.step or 0 for state in of_method) for method, of_method in made.items()}
    most = max(epochs.values(), default=0.0)
    batch = {method: runs[0].config.get("batch_size") for method, runs in done.items()}
    cut = {}
    for method in made:
        if epochs[method] < 0.99 * most:
            same = [steps[m] for m in made if epochs[m] >= 0.99 * most and batch[m] == batch[method]]
            planned = round(steps[method] * most / epochs[method]) if epochs[method] else steps[method]
            cut[method] = Cut(steps[method], max(same, default=planned))
    return cut
