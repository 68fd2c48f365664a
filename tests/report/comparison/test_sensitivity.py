"""The range of learning rates that come close to the best."""

import math

from sobench.report.comparison.sensitivity import close_range


def test_the_range_goes_from_the_best_rate_as_far_as_losses_stay_close():
    found = close_range(
        [
            {"optimizer.lr": lr, "score": s}
            for lr, s in ((0.01, 1.4), (0.1, 1.0), (1.0, 1.5), (10.0, 1.6), (100.0, 1.2))
        ],
        "lower",
    )
    assert (found.low, found.high, found.open) == (0.01, 1.0, True)  # 10 is not close, so 100 is beyond
    assert str(found) == "0.01 to 1 (at least 100 x of 5 rates)"


def test_a_rate_counts_with_its_best_other_setting_and_failed_trials_are_far():
    rows = [
        {"optimizer.lr": 0.1, "optimizer.damping": 1.0, "score": 9.0},
        {"optimizer.lr": 0.1, "optimizer.damping": 0.1, "score": 1.0},
        {"optimizer.lr": 1.0, "score": math.nan},
        {"optimizer.lr": 0.01, "score": 5.0},
    ]
    found = close_range(rows, "lower")
    assert (found.low, found.high, found.open) == (0.1, 0.1, False)


def test_an_accuracy_is_taken_as_an_error():
    rows = [{"optimizer.lr": lr, "score": s} for lr, s in ((0.01, 0.84), (0.1, 0.9), (1.0, 0.86))]
    found = close_range(rows, "higher")
    assert (found.low, found.high) == (0.1, 1.0)  # errors 0.16, 0.10, 0.14


def test_too_few_rates_say_nothing():
    assert close_range([{"optimizer.lr": 0.1, "score": 1.0}, {"optimizer.lr": 1.0, "score": 1.0}], "lower") is None
    assert close_range([{"optimizer.lr": lr, "score": math.nan} for lr in (1.0, 2.0, 3.0)], "lower") is None
    assert close_range([], "lower") is None
