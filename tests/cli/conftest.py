"""The small data set of helpers/small_mnist.py."""

from small_mnist import small  # noqa: F401 - a fixture
