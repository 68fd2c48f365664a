"""The budget of a run: its limits, and the steps after which the loop logs, evaluates or ends. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sobench.training.clock import Clock


class Budget:
    """The limits of a run and the periods of its rows and evaluations.

    limit: the largest number of steps, from `budget.steps` and `budget.epochs`; None if only seconds limit the run.
    seconds: the largest training time, or None. log_every: steps between two rows of the record.
    """

    def __init__(self, settings: Mapping[str, Any], steps_per_epoch: int):
        budget, evaluate = settings["budget"], settings["evaluate"]
        by_epochs = None if budget["epochs"] is None else max(1, round(budget["epochs"] * steps_per_epoch))
        self.limit: int | None = min((most for most in (budget["steps"], by_epochs) if most is not None), default=None)
        self.seconds: float | None = budget["seconds"]
        self.log_every: int = settings["log"]["every"]
        self._evaluations = [evaluate["every"] * steps_per_epoch]
        self._evaluations += [] if evaluate["steps"] is None else [evaluate["steps"]]

    def next_due(self, step: int) -> int:
        """The first step after `step` at which a row or an evaluation is due, or the limit is reached."""
        following = [(step // period + 1) * period for period in (self.log_every, *self._evaluations)]
        return min(following if self.limit is None else [*following, self.limit])

    def evaluates(self, step: int) -> bool:
        """Whether an evaluation is due after this step."""
        return any(step % period == 0 for period in self._evaluations)

    def evaluations(self, steps: int) -> int:
        """The number of evaluations in a run of `steps` steps, with the first before step 1 and the last at the end."""
        due = {step for period in self._evaluations for step in range(period, steps + 1, period)}
        return 1 + len(due | {steps})

    def out_of_time(self, clock: Clock) -> bool:
        """Whether the seconds are spent, while the clock runs."""
        return self.seconds is not None and clock.running() >= self.seconds

    def spent(self, step: int, clock: Clock) -> bool:
        """Whether the run is over after this step, when the clock has been stopped."""
        return step == self.limit or (self.seconds is not None and clock.seconds >= self.seconds)
