"""Ways over a landscape: what is drawn is what the rows say."""

from __future__ import annotations

import numpy as np
from run_tree import a_run, put, row

from sobench.report.evidence import Evidence
from sobench.report.figures.trajectory import landscape
from sobench.report.schema.panels import Trajectory
from sobench.report.schema.spec import Figure, Method, Report
from sobench.results.collection import collect


def test_the_landscape_is_a_grid_of_its_places():
    us, vs, losses = landscape({(u, v): u + 10 * v for u in (-1.0, 0.0, 2.5) for v in (3.0, 4.0)})
    assert us.tolist() == [-1, 0, 2.5] and vs.tolist() == [3, 4]
    assert np.array_equal(losses, us[None, :] + 10 * vs[:, None])


def test_a_path_begins_at_the_start_and_has_the_places_that_its_own_run_recorded(tmp_path):
    runs = [a_run("sgd", 0), a_run("newton", 0)]
    for run, corner in zip(runs, (0, 9), strict=True):
        first = {f"landscape/{u + corner}/{v}": u + 10.0 * v for u in (0, 1) for v in (0, 1)}
        rows = [row("train", step, **{"weight/0": float(step), "weight/1": corner - step}) for step in (1, 2, 3)]
        rows[0] |= {"start/0": 0.5, "start/1": 0.25, **first}
        put(tmp_path, run, rows)
    panel = Trajectory("Loss")
    methods = {name: Method(name, {"optimizer": name}) for name in ("sgd", "newton")}
    evidence = Evidence(Report("t", "s", "e", methods, figure=Figure([panel])), collect(runs, tmp_path))
    path = evidence.path("sgd", panel, 0)
    assert path and path.points.tolist() == [[0.5, 0.25], [1, -1], [2, -2], [3, -3]]
    assert path.landscape == {(u, v): u + 10.0 * v for u in (0, 1) for v in (0, 1)}
    assert evidence.path("sgd", panel, 1) is None
