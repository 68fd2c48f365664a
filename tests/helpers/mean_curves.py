"""The mean curve of the runs of a table, as a figure draws it."""

import pandas as pd

from sobench.report.numbers import PLACE, Numbers, Rows, smoothed
from sobench.results.curves import mean
from sobench.results.row_table import Table


def curve(
    table: Table, x: str, y: str, *, kind: str = "eval", smooth: float | None = None, hold: bool = True
) -> pd.DataFrame:
    """The columns x, mean, stderr, n over the runs of the table; x: "epochs" takes the mean of each epoch."""
    rows, x = (Rows(kind, "epochs"), PLACE) if x == "epochs" else (Rows(kind), x)
    runs = pd.unique(table["run"].to_numpy())
    return mean(list(Numbers(table).series(rows, x, smoothed(y, smooth), runs).values()), hold=hold)
