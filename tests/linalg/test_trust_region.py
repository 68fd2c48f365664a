"""Tests of the reduction ratio, and of the Levenberg-Marquardt rule at its boundaries."""

import math

import pytest
import torch

from sobench.linalg.trust_region import levenberg_marquardt, reduction_ratio


def scalar(x):
    return torch.tensor(x, dtype=torch.float64)


@pytest.mark.parametrize(
    ("rho", "factor"),
    [
        (-5.0, 1.5),
        (0.0, 1.5),
        (math.nextafter(0.25, 0), 1.5),
        (0.25, 1.0),
        (0.5, 1.0),
        (0.75, 1.0),
        (math.nextafter(0.75, 1), 0.8),
        (1.0, 0.8),
        (7.0, 0.8),
        (-math.inf, 1.5),
        (math.inf, 0.8),
        (math.nan, 1.5),
    ],
)
def test_levenberg_marquardt(rho, factor):
    damping = levenberg_marquardt(scalar(2.0), scalar(rho), boost=1.5, drop=0.8)
    assert damping.item() == 2.0 * factor and damping.dtype == torch.float64


def test_another_epsilon():
    for rho, factor in [(0.09, 3.0), (0.1, 1.0), (0.9, 1.0), (0.91, 0.5)]:
        assert levenberg_marquardt(scalar(1.0), scalar(rho), boost=3.0, drop=0.5, epsilon=0.1).item() == factor


def test_the_ratio_is_one_where_the_model_is_exact_and_negative_where_the_loss_rises():
    assert reduction_ratio(scalar(5.0), scalar(3.0), scalar(2.0)).item() == 1.0
    assert reduction_ratio(scalar(5.0), scalar(6.0), scalar(2.0)).item() == -0.5
    assert reduction_ratio(scalar(5.0), scalar(math.nan), scalar(2.0)).isnan()
