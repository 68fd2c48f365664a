"""Which methods were given less to train with than the others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sobench.results.state import State


@dataclass(frozen=True)
class Cut:
    """A method that was given fewer epochs than the others: the steps it made, of those the others' epochs take."""

    steps: int
    of: int

    def __str__(self) -> str:
        return f"cut to {self.steps:,} of {self.of:,} steps"


def cuts(done: Mapping[str, list[Run]], states: Mapping[str, State]) -> dict[str, Cut]:
    """The methods whose finished runs, given by method, made fewer epochs than the others' did (by more than 1 %). Runs
    that all share a budget in seconds alone are meant to differ in epochs, and none of them is cut."""
    budgets = [run.config.get("budget", {}) for runs in done.values() for run in runs]
    if budgets and all(b.get("seconds") and not (b.get("epochs") or b.get("steps")) for b in budgets):
        if len({b["seconds"] for b in budgets}) == 1:
            return {}
    made = {method: [states[run.id] for run in runs] for method, runs in done.items()}
    epochs = {method: min(state.epoch or 0.0 for state in found) for method, found in made.items()}
    steps = {method: min(state.step or 0 for state in found) for method, found in made.items()}
    most = max(epochs.values(), default=0.0)
    batch = {method: runs[0].config.get("batch_size") for method, runs in done.items()}
    found = {}
    for method in made:
        if epochs[method] < 0.99 * most:
            same = [steps[m] for m in made if epochs[m] >= 0.99 * most and batch[m] == batch[method]]
            planned = round(steps[method] * most / epochs[method]) if epochs[method] else steps[method]
            found[method] = Cut(steps[method], max(same, default=planned))
    return found
