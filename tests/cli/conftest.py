"""The small data set of helpers/small_mnist.py; the pictures of figures without their PDF, which tests/report tests."""

import pytest
from small_mnist import small  # noqa: F401 - a fixture


@pytest.fixture(autouse=True)
def _pictures_alone(no_pdf):
    """No command's test looks at a PDF."""
