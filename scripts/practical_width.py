"""The distance of each hidden width from the numbers that `practical` publishes.

    sobench reproduce practical/width && python scripts/practical_width.py [TABLE]

The distance is the root mean square of log(ours / published). TABLE is the table.csv of the report. Training losses are
compared directly, and test accuracies as error rates (1 - accuracy). Both are then relative, so that a method has the
same weight in each.
"""

import sys

import numpy as np
import pandas as pd

TABLE = "reports/practical/width/paper/table.csv"


def misfit(table: pd.DataFrame) -> pd.DataFrame:
    """A row for each width: the distance over training losses, over test errors, and over both."""
    accuracy = table.metric == "test_accuracy"
    ours, published = (column.where(~accuracy, 1 - column) for column in (table["mean"], table["published"]))
    squares = np.log(ours / published) ** 2
    parts = {"training loss": squares.where(~accuracy), "test error": squares.where(accuracy), "both": squares}
    by_width = {name: part.groupby(table.label, sort=False).mean() ** 0.5 for name, part in parts.items()}
    return pd.DataFrame(by_width)


if __name__ == "__main__":
    print(misfit(pd.read_csv(sys.argv[1] if len(sys.argv) > 1 else TABLE)).round(3).to_string())
