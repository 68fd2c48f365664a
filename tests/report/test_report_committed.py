"""Every report in `reports/` is what its own numbers give today, or is withdrawn."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from sobench.report import again
from sobench.report.figures.curve import mean_of
from sobench.report.schema.panels import Panel
from sobench.system.files import CHECKOUT

REPORTS = CHECKOUT / "reports"
FOLDERS = again.folders([REPORTS])
JUDGED = [folder for folder in FOLDERS if again.has_verdicts(folder) and not again.is_withdrawn(folder)]


def name(folder: Path) -> str:
    return str(folder.relative_to(REPORTS))


def form(folder: Path) -> tuple:
    """What the reports of one artifact on different data sets have in common."""
    return folder.relative_to(REPORTS).parts[:2], again.is_tuning(folder), folder in JUDGED


FIRST = {form(folder): folder for folder in reversed(FOLDERS)}
"""One report of each form."""


@pytest.mark.parametrize(
    "folder",
    [pytest.param(f, marks=[] if f == FIRST[form(f)] else [pytest.mark.slow], id=name(f)) for f in FOLDERS],
)
def test_its_numbers_give_its_pages(folder, no_pdf):
    """The usual tests have one report of each artifact; those on other data sets are slow tests."""
    assert again.differences(folder) == []


@pytest.mark.parametrize("folder", JUDGED, ids=name)
def test_every_curve_ends_at_the_value_of_the_table(folder):
    evidence = again.evidence_of(folder)
    for panel in evidence.asked(evidence.report.panels):
        if not isinstance(panel, Panel) or panel.smooth or panel.mean_by:
            continue
        for method in panel.methods or evidence.report.methods:
            curve, ends = mean_of(evidence, method, panel, "done"), evidence.ends(method, panel)
            finite = [value for value in ends.values() if math.isfinite(value)]
            if len(curve) and finite:
                assert curve["mean"].iloc[-1] == pytest.approx(np.mean(finite), rel=1e-6), (method, panel.y)
