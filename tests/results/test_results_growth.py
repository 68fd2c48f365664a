import math

import numpy as np
import pytest
from scipy import stats

from sobench.results.aggregate import Aggregate
from sobench.results.growth import growth


def sizes(values: dict[float, dict[int, float]], **gaps) -> dict[float, Aggregate]:
    return {size: Aggregate(of, len(of) + sum(gaps.values()), gaps) for size, of in values.items()}


def test_a_power_law_is_found_exactly():
    found = growth(sizes({w: {0: 7.0 * w**1.5} for w in (10, 20, 40, 80)}))
    assert found.mean == pytest.approx(1.5) and found.stderr == pytest.approx(0, abs=1e-7)
    assert (found.found, found.expected, found.gap) == (4, 4, "")
    assert found.by_seed == {0: pytest.approx(1.5)}


def test_it_is_least_squares_in_logarithms_over_all_runs():
    rng = np.random.default_rng(0)
    values = {w: {seed: 3 * w**2 * math.exp(rng.normal() / 5) for seed in range(3)} for w in (8, 16, 32, 64)}
    x, y = zip(*[(math.log(w), math.log(v)) for w, of in values.items() for v in of.values()], strict=True)
    line = stats.linregress(x, y)
    found = growth(sizes(values))
    assert found.mean == pytest.approx(line.slope) and found.stderr == pytest.approx(line.stderr)
    for seed, slope in found.by_seed.items():
        assert slope == pytest.approx(
            np.polyfit(np.log(list(values)), np.log([of[seed] for of in values.values()]), 1)[0]
        )
    assert np.mean(list(found.by_seed.values())) == pytest.approx(found.mean)  # the same sizes for every seed


def test_what_has_no_logarithm_or_no_run_is_counted():
    values = sizes({10: {0: 1.0, 1: 0.0}, 20: {0: 2.0, 1: 2.0}, 40: {0: 4.0}}, missing=1)
    found = growth(values)
    assert found.gap == "missing 3/8, not positive 1/8" and found.found + 4 == found.expected
    assert found.mean == pytest.approx(1.0) and found.by_seed == {0: pytest.approx(1.0)}  # seed 1 lacks two sizes


@pytest.mark.parametrize(("values", "gap"), [({10: {0: 3.0, 1: 3.1}}, "one size 2/2"), ({10: {}, 20: {}}, "")])
def test_one_size_has_no_growth(values, gap):
    found = growth(sizes(values))
    assert math.isnan(found.mean) and math.isnan(found.stderr) and not found.by_seed and found.gap == gap


def test_two_points_have_an_exponent_and_no_error():
    found = growth(sizes({10: {0: 1.0}, 20: {0: 8.0}}))
    assert found.mean == pytest.approx(3.0) and math.isnan(found.stderr)
