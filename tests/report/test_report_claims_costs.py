"""Claims about costs, their growth, the time to a level, and a grid of settings."""

import math

import pytest
from judging import verdict_on
from run_tree import a_run, evals, put

from sobench.report.schema.spec import Method, Reach

METHODS = {name: Method(name, {"optimizer": name}) for name in ("a", "b")}
DIVERGED, MISSING = "diverged", "missing"


def test_bytes_are_counted_so_one_run_decides_and_times_are_not(tmp_path):
    runs = [a_run("a"), a_run("b")]
    put(tmp_path, runs[0], evals("train_loss", 2.0, 1.0), state_bytes=100)
    put(tmp_path, runs[1], evals("train_loss", 2.0, 1.0, every=20), state_bytes=150)
    found = verdict_on(runs, tmp_path, METHODS, kind="compare", metric="state_bytes", subject="a", rivals=["b"])
    assert (found.verdict, found.effect, found.n, found.test) == ("holds", -50.0, 1, "a count, which no seed changes")
    ratio = {"kind": "ratio", "subject": "b", "rivals": ["a"], "at_most": 1.4}
    assert verdict_on(runs, tmp_path, METHODS, metric="state_bytes", **ratio).verdict == "fails"
    timed = verdict_on(runs, tmp_path, METHODS, metric="seconds_per_step", **ratio)
    assert (timed.verdict, timed.reason) == ("undecided", "needs at least 2 paired seeds, has 1")


def widths(root, exponents: dict[str, list[float]], **test):
    """The verdict about methods whose seeds have seconds_per_step = width^p, or whose state_bytes have it."""
    runs = [
        a_run(name, seed, widths=(width, 5))
        for name, ps in exponents.items()
        for seed in range(len(ps))
        for width in (10, 20, 40)
    ]
    for run in runs:
        cost = run.config["model"]["widths"][0] ** exponents[run.config["optimizer"]["name"]][run.seed]
        rows = evals("train_loss", 2.0, 1.0)
        put(root, run, [r | {"seconds": r["step"] * cost} for r in rows], state_bytes=cost)
    return verdict_on(runs, root, METHODS, growth="model.widths", **test)


def test_a_growth_is_bound_and_compared_by_its_exponent(tmp_path):
    exponents = {"a": [2.0, 2.1, 1.95], "b": [3.0, 3.1, 2.9]}
    found = widths(tmp_path, exponents, kind="bound", metric="seconds_per_step", subject="a", within=[1.7, 2.3])
    assert (found.verdict, found.n, found.expected) == ("holds", 3, 3) and found.effect == pytest.approx(6.05 / 3)
    assert "exponent over model.widths" in str(found.details[0])
    assert (
        widths(tmp_path, exponents, kind="bound", metric="seconds_per_step", subject="b", at_most=2.5).verdict
        == "fails"
    )
    less = widths(tmp_path, exponents, kind="compare", metric="seconds_per_step", subject="a", rivals=["b"])
    assert less.verdict == "holds" and less.effect == pytest.approx(6.05 / 3 - 3)
    ratio = {"kind": "ratio", "metric": "seconds_per_step", "subject": "b", "rivals": ["a"]}
    more = widths(tmp_path, exponents, **ratio, at_least=1.4)
    logs = [math.log(b / a) for a, b in zip(exponents["a"], exponents["b"])]
    assert more.verdict == "holds" and more.effect == pytest.approx(math.exp(sum(logs) / 3))
    counted = widths(tmp_path / "1", {"a": [2.0]}, kind="bound", metric="state_bytes", subject="a", within=[1.9, 2.1])
    assert counted.verdict == "holds" and counted.n == 1


def reaching(root, outcomes: dict[str, list], **test):
    """The verdict about the seconds until the loss is 1; an outcome is the evaluation (a second each) that has it."""
    runs = [a_run(name, seed) for name, seeds in outcomes.items() for seed in range(len(seeds))]
    for run in runs:
        outcome = outcomes[run.config["optimizer"]["name"]][run.seed]
        after = 99 if isinstance(outcome, str) else outcome
        losses = [1.0 if index >= after else 2.0 for index in range(12)]
        if outcome != MISSING:
            put(root, run, evals("train_loss", *losses), "diverged" if outcome == DIVERGED else "done")
    return verdict_on(
        runs, root, METHODS, metric="seconds", reach=Reach("train_loss", at_most=1.0), subject="a", **test
    )


def test_the_time_to_reach_a_loss(tmp_path):
    outcomes = {"a": [2, 3, 4], "b": [4, 6, 9]}
    found = reaching(tmp_path / "1", outcomes, kind="ratio", rivals=["b"], at_most=0.6)
    assert found.verdict == "holds" and found.effect == pytest.approx((2 * 3 * 4 / (4 * 6 * 9)) ** (1 / 3))
    assert reaching(tmp_path / "2", {"a": [5] * 6, "b": ["never"] * 6}, kind="compare", rivals=["b"]).verdict == "holds"
    assert reaching(tmp_path / "3", {"a": ["never"] * 6, "b": [5] * 6}, kind="compare", rivals=["b"]).verdict == "fails"
    assert (
        reaching(tmp_path / "4", {"a": [DIVERGED] * 6, "b": [5, 6] * 3}, kind="compare", rivals=["b"]).verdict
        == "fails"
    )
    both = reaching(tmp_path / "5", {"a": ["never"] * 2, "b": ["never"] * 2}, kind="compare", rivals=["b"])
    assert both.verdict == "undecided"
    assert reaching(tmp_path / "6", {"a": [5, MISSING], "b": [6, 7]}, kind="compare", rivals=["b"]).n == 1


def tuned(root, *seeds: dict[float, float | str], **test):
    """The verdict about the last loss of a method over learning rates."""
    runs = [a_run("a", seed, lr=lr) for seed, losses in enumerate(seeds) for lr in losses]
    for run in runs:
        outcome = seeds[run.seed][run.config["optimizer"]["lr"]]
        if outcome == DIVERGED:
            put(root, run, evals("train_loss", 5.0), "diverged")
        elif outcome != MISSING:
            put(root, run, evals("train_loss", 5.0, outcome))
    return verdict_on(runs, root, {"a": METHODS["a"]}, kind="robust", metric="train_loss", subject="a", **test)


def test_a_method_is_robust_where_many_settings_come_near_its_best(tmp_path):
    seeds = [{0.1: 1.0, 0.2: 1.9, 0.4: 2.1, 0.8: DIVERGED}, {0.1: 3.0, 0.2: 5.9, 0.4: 6.1, 0.8: 6.0}]
    found = tuned(tmp_path / "1", *seeds, times=2, share=0.4)
    assert found.verdict == "undecided" and found.effect == pytest.approx((2 / 4 + 3 / 4) / 2)
    assert tuned(tmp_path / "2", *[seeds[0]] * 6, times=2, share=0.4).verdict == "holds"
    assert tuned(tmp_path / "3", *[seeds[0]] * 6, times=1.5, share=0.4).verdict == "fails"
    assert (
        tuned(tmp_path / "4", {0.1: 8.0, 0.2: 3.0}, {0.1: 8.0, 0.2: 3.9}, times=2, share=0.9, better="higher").effect
        == 0.5
    )


def test_a_seed_that_lacks_a_setting_does_not_count_and_all_diverged_is_not_robust(tmp_path):
    whole, holed = {0.1: 1.0, 0.2: 1.1}, {0.1: 1.0, 0.2: MISSING}
    found = tuned(tmp_path / "1", whole, holed, times=2, share=0.4)
    assert (found.n, found.expected, found.verdict) == (1, 2, "undecided") and "at least 2 seeds, has 1" in found.reason
    gone = {0.1: DIVERGED, 0.2: DIVERGED}
    assert tuned(tmp_path / "2", gone, gone, times=2, share=0.4).effect == 0.0
    assert math.isfinite(tuned(tmp_path / "3", gone, whole, times=2, share=0.4).effect)
