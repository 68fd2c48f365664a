"""The x-axes that every row of metrics carries or gives, and how a figure names them; the places off them.

The clock does not run during a warm start: `seconds` leaves it out, `total_seconds` has it.
"""

AXES = {
    "step": "steps",
    "epoch": "epochs",
    "seconds": "training time (s)",
    "total_seconds": "training time with warm start (s)",
    "process_seconds": "CPU time (s)",
    "work": "work (gradient-equivalent epochs)",
}

COUNTERS = ("forwards", "backwards", "products", "samples", "passes")
"""The meter's columns, see sobench.objective.cost: spelt out here because results are read without torch."""

POSITION = frozenset((*AXES, *COUNTERS))
"""The columns that every row has, whatever its kind: where the run is."""


def is_time(*names: str) -> bool:
    """Whether any of these metrics, axes or settings is a time: each that is one says so in its name."""
    return any("seconds" in name for name in names)


EXTREMES = {"highest": "idxmax", "lowest": "idxmin"}
"""Where another metric has its best value, and how pandas finds that row."""
