"""The columns of the cost meter: the list that is read without torch equals the meter's own."""

from sobench.objective import cost
from sobench.results import axes


def test_the_columns_of_results_are_the_counters_of_the_meter():
    assert axes.COUNTERS == cost.COUNTERS == tuple(cost.Cost().counts())
