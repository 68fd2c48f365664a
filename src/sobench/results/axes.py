"""The x-axes of a run's rows, the other columns that every row has, and the places at which a metric is taken.

The clock stands still during a warm start: `seconds` excludes it, `total_seconds` includes it. `cost` is the number of
steps times the cost of one, which `sobench bench cells` measures: a time that other work on the machine does not
change. `total_cost` includes the warm start.
"""

from collections.abc import Mapping

AXES = {
    "step": "steps",
    "epoch": "epochs",
    "seconds": "training time (s)",
    "total_seconds": "training time with warm start (s)",
    "process_seconds": "CPU time (s)",
    "work": "work (gradient-equivalent epochs)",
    "cost": "cost (steps of SGD with momentum)",
    "total_cost": "cost with warm start (steps of SGD with momentum)",
}

COUNTERS = ("forwards", "backwards", "products", "samples", "passes")
"""The columns of the cost meter, see sobench.objective.cost; repeated here because results are read without torch."""

POSITION = frozenset((*AXES, *COUNTERS))
"""The columns that rows of every kind have: the position of the run."""

COST_AXES = ("cost", "total_cost")
"""The axes that `sobench bench cells` has to measure."""


def is_time(*names: str) -> bool:
    """Whether any of these metrics, axes or settings is a time, which its name tells."""
    return any("seconds" in name for name in names)


EXTREMES = {"highest": "idxmax", "lowest": "idxmin"}
"""The extremes of another metric at which a metric may be taken, and the pandas method that finds the row."""

MEAN_OF_EPOCH = "mean_of_epoch"
"""The key of a mean over the rows of one epoch, counted from 1."""

At = str | Mapping[str, float] | Mapping[str, str]
"""The place at which a metric is taken: a name, {axis: number}, {extreme: other metric}, or {mean_of_epoch: number}."""
