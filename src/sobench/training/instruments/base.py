"""The interface of an instrument, a measurement beside the training that does not change the run.

    instrument.begin()                        the loop, once before step 1
    with instrument.around(step, f):          the loop, at every step
        optimizer.step(f)
    row |= instrument.readings()              the loop, at every row of the record
    row |= instrument.at_evaluation()         the loop, at every evaluation; the first is before step 1

The trajectory is bit for bit the same with an instrument as without one, and an instrument's time and work do not count
as the run's. An instrument asks an objective of its own for the same batch (`_beside`), and undoes whatever it does to
the model (`Problem.undone`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from sobench.objective import Objective
from sobench.objective.cost import Cost
from sobench.training.clock import Clock
from sobench.training.problem import Problem

_NOTHING = nullcontext()


class Instrument:
    """The instrument that measures nothing, and the base class of the others. settings: those of the run."""

    def __init__(self, problem: Problem, clock: Clock, settings: dict[str, Any]):
        self.problem, self.clock = problem, clock

    def begin(self) -> None:
        """Called before the first step of a run, while the clock is stopped."""

    def around(self, step: int, f: Objective) -> AbstractContextManager[None]:
        """The context in which the optimizer makes step `step` on the batch of f. The clock runs."""
        return _NOTHING

    def at_evaluation(self) -> dict[str, float]:
        """Columns for the row of an evaluation. The clock is stopped."""
        return {}

    def readings(self) -> dict[str, float]:
        """Columns for a row of the record, measured since the last call. The clock is stopped."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """The state that a resumed run needs."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state that `state_dict` returned."""

    # For subclasses

    def _beside(self, step: int, f: Objective) -> Objective:
        """An objective of the batch of f with its own meter and its own random streams, which draw what f will draw."""
        return self._unmetered(f.on(f.batch, self.problem.streams.at(step)))

    @staticmethod
    def _unmetered(f: Objective) -> Objective:
        """f itself, with a new cost meter, so that its work does not count as work of the run."""
        f.cost = Cost()
        return f

    @contextmanager
    def _off_the_clock(self) -> Iterator[None]:
        """Stop the clock inside the context."""
        self.clock.stop()
        yield
        self.clock.start()
