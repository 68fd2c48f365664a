"""Diabetes: the progression of a disease a year later from ten measurements of 442 patients; in scikit-learn.

B. Efron, T. Hastie, I. Johnstone and R. Tibshirani, Least Angle Regression (2004), section 1. Read from scikit-learn's
files and not by its `load_diabetes`, because importing scikit-learn takes a second of each command.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sobench.data.dataset import Dataset
from sobench.data.reading import of_scikit_learn

if TYPE_CHECKING:
    import numpy as np

ROWS, COLUMNS = 442, 10
INPUTS, TARGETS = "sklearn/datasets/data/diabetes_data_raw.csv.gz", "sklearn/datasets/data/diabetes_target.csv.gz"


def diabetes(*, standardize: bool = True) -> Dataset:
    """354 training and 88 test patients, inputs float32 [N, 10] and targets float32 [N, 1].

    standardize: inputs and targets are standardized by the means and deviations of the training patients, so that a
    target is in units of the deviation of the training targets. In the order of their targets, every fifth patient,
    from the third on, is a test patient: the split is the same for every seed. Raises Failure if scikit-learn's files
    cannot be read.
    """
    import numpy as np
    import torch

    x, y = _read()
    held_out = np.zeros(ROWS, dtype=bool)
    held_out[np.argsort(y[:, 0], kind="stable")[2::5]] = True
    if standardize:
        x, y = ((values - values[~held_out].mean(0)) / values[~held_out].std(0) for values in (x, y))
    inputs, targets, test = torch.from_numpy(x).float(), torch.from_numpy(y).float(), torch.from_numpy(held_out)
    return Dataset("diabetes", (inputs[~test], targets[~test]), (inputs[test], targets[test]), classes=None)


def _read() -> tuple[np.ndarray, np.ndarray]:
    """Measurements [442, 10] and targets [442, 1]. Raises Failure if a file cannot be read."""
    import numpy as np

    tables = []
    for file, columns in ((INPUTS, COLUMNS), (TARGETS, 1)):
        with of_scikit_learn("diabetes", file) as path:
            tables.append(np.loadtxt(path, ndmin=2).reshape(ROWS, columns))
            if not np.isfinite(tables[-1]).all():
                raise ValueError("a number is not finite")
    x, y = tables
    return x, y
