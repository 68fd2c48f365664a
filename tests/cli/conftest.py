"""The small data set of helpers/small_mnist.py; figures as pictures alone, without the layout of their margins.

tests/report has the PDF and the layout.
"""

import pytest
from matplotlib.layout_engine import ConstrainedLayoutEngine
from small_mnist import small  # noqa: F401 - a fixture


@pytest.fixture(autouse=True)
def _pictures_alone(no_pdf, monkeypatch):
    """No command's test looks at a PDF or at margins, which are half of the work of a figure."""
    monkeypatch.setattr(ConstrainedLayoutEngine, "execute", lambda engine, sheet: None)
