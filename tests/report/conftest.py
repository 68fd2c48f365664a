from pathlib import Path

import pytest

DESCRIPTION = """
title: Test & train of all
source: a paper, table 1
experiment: a/grid
methods:
  sgd: SGD
  newton: Newton's
  hf_newton: {label: Hessian-free, where: {optimizer.name: hf_newton}}
table:
  columns:
    - {metric: test_accuracy, label: Accuracy (100%), better: higher, published: {sgd: 0.91, newton: [0.5, 0.02]}}
    - {metric: seconds_per_step, label: Time, better: lower, format: .3g}
figure:
  panels:
    - {x: step, y: loss, rows: train, smooth: 20, label: Loss, title: by steps, scale: log}
    - {x: seconds, y: test_accuracy, label: Accuracy, published: {sgd: 0.91}}
claims:
  - id: best
    text: Hessian-free is the best.
    source: abstract
    reading: of the three
    test: {kind: compare, metric: test_accuracy, better: higher, subject: hf_newton, rivals: [sgd, newton]}
notes: [One note.]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of report descriptions that holds one, `a/one`."""
    path = tmp_path / "conf" / "a" / "one.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(DESCRIPTION)
    return tmp_path / "conf"
