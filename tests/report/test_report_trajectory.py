"""Ways over a landscape: what is drawn is what the rows say."""

from __future__ import annotations

import numpy as np
import pandas as pd

from sobench.report.figures.trajectory import landscape


def test_the_landscape_is_read_from_the_names_of_its_places():
    places = {f"landscape/{u:g}/{v:g}": [u + 10 * v, np.nan] for u in (-1.0, 0.0, 2.5) for v in (3.0, 4.0)}
    us, vs, losses = landscape(pd.DataFrame({"weight/0": [1.0, 2.0], **places}))
    assert us.tolist() == [-1, 0, 2.5] and vs.tolist() == [3, 4]
    assert np.array_equal(losses, us[None, :] + 10 * vs[:, None])


def test_a_column_of_another_run_that_has_no_value_here_is_no_place():
    frame = pd.DataFrame(
        {f"landscape/{u}/{v}": [float(u)] for u in (0, 1) for v in (0, 1)} | {"landscape/9/9": [np.nan]}
    )
    us, vs, losses = landscape(frame)
    assert us.tolist() == vs.tolist() == [0, 1] and losses.shape == (2, 2)
