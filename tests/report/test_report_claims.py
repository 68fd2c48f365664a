import math

import numpy as np
import pytest
from run_tree import a_run, evals, put
from scipy import stats

from sobench.report.claims import judge
from sobench.report.evidence import Evidence
from sobench.report.paired import between, one_sided
from sobench.report.schema.spec import Claim, Method, Report, Test
from sobench.results.collection import collect

DIVERGED, MISSING = "diverged", "missing"


def verdict(root, outcomes: dict[str, list], cut: tuple[str, ...] = (), **test):
    """The verdict on a claim about the last train_loss of each seed; an outcome is a value, DIVERGED or MISSING."""
    test = {"kind": "compare", "metric": "train_loss", "better": "lower", "subject": "a"} | test
    paper = {"paper": {"steps": 5}}
    runs = [a_run(method, seed, budgets=paper) for method, values in outcomes.items() for seed in range(len(values))]
    for run in runs:
        name, outcome = run.config["optimizer"]["name"], outcomes[run.config["optimizer"]["name"]][run.seed]
        if outcome == DIVERGED:
            put(root, run, evals("train_loss", 2.3), "diverged")
        elif outcome != MISSING:
            put(root, run, evals("train_loss", 2.3, outcome, every=5 if name in cut else 10))
    methods = {name: Method(name, {"optimizer": name}) for name in outcomes}
    claim = Claim("c", "text", "source", Test(**test))
    report = Report("t", "s", "e", methods, claims=[claim], id="p/x", file="p/x.yaml")
    return judge(Evidence(report, collect(runs, root)))[0]


# ---- the tests of a sample


def test_a_finite_sample_is_decided_by_students_t():
    sample = np.array([0.1, 0.3, -0.05, 0.2, 0.15])
    t = sample.mean() / (sample.std(ddof=1) / math.sqrt(5))
    less, greater, name = one_sided(sample, 0.0)
    assert (less, greater) == (pytest.approx(stats.t.cdf(t, 4)), pytest.approx(stats.t.sf(t, 4)))
    assert name == "t-test"


def test_two_sided_bounds_are_two_one_sided_tests():
    sample = np.array([0.9, 1.0, 1.1, 1.05])
    decision = between(sample, 0.5, 1.5)
    assert decision.p_holds == pytest.approx(max(one_sided(sample, 0.5)[1], one_sided(sample, 1.5)[0]))
    assert decision.p_fails == 1.0
    assert between(sample + 9, 0.5, 1.5).p_fails == pytest.approx(2 * one_sided(sample + 9, 1.5)[1])


def test_a_mixture_with_diverged_runs_is_an_exact_sign_test_without_ties():
    sample = np.array([-1.0, -2.0, -math.inf, -0.5, -0.1, math.nan])
    less, greater, name = one_sided(sample, 0.0)
    assert (less, greater, name) == (pytest.approx(1 / 32), 1.0, "exact sign test")


@pytest.mark.parametrize(
    ("sample", "less", "greater"),
    [
        ([-0.5, -0.5], 0.25, 1.0),
        ([0.5, 0.5], 1.0, 0.25),
        ([0.0, 0.0], 1.0, 1.0),
        ([-math.inf] * 3, 0.125, 1.0),
        ([math.inf] * 2, 1.0, 0.25),
        ([math.nan] * 3, 1.0, 1.0),
        ([-7.0], 1.0, 1.0),
        ([], 1.0, 1.0),
    ],
)
def test_degenerate_samples(sample, less, greater):
    assert one_sided(np.array(sample), 0.0)[:2] == (less, greater)


def test_the_level_is_kept_when_nothing_differs():
    samples = np.random.default_rng(0).normal(size=(2000, 4))
    rate = np.mean([between(sample, high=0.0).p_holds < 0.05 for sample in samples])
    assert 0.05 - 3 * math.sqrt(0.05 * 0.95 / 2000) < rate < 0.05 + 3 * math.sqrt(0.05 * 0.95 / 2000)


# ---- the verdict on a claim


def test_better_in_every_pair_holds_worse_fails_and_noise_is_undecided(tmp_path):
    a, b = [0.20, 0.31, 0.42], [0.30, 0.40, 0.50]
    found = verdict(tmp_path / "1", {"a": a, "b": b}, rivals=["b"])
    expected = stats.ttest_rel(a, b, alternative="less")
    assert (found.verdict, found.p, found.n) == ("holds", pytest.approx(expected.pvalue), 3)
    assert found.effect == pytest.approx(-0.09) and found.test == "paired t-test"
    assert verdict(tmp_path / "2", {"a": b, "b": a}, rivals=["b"]).verdict == "fails"
    assert verdict(tmp_path / "3", {"a": [0.2, 0.4, 0.3], "b": [0.3, 0.3, 0.31]}, rivals=["b"]).verdict == "undecided"
    assert verdict(tmp_path / "4", {"a": a, "b": b}, rivals=["b"], better="higher").verdict == "fails"


def test_pairing_is_by_seed(tmp_path):
    # far apart over seeds, yet always a little better: only pairs can tell
    found = verdict(tmp_path, {"a": [1.0, 5.01, 9.0], "b": [1.1, 5.1, 9.11]}, rivals=["b"])
    assert found.verdict == "holds"


def test_every_rival_must_be_beaten(tmp_path):
    a, b, c = [0.20, 0.31, 0.42], [0.30, 0.40, 0.50], [0.21, 0.30, 0.43]
    assert verdict(tmp_path / "1", {"a": a, "b": b, "c": c}, rivals=["b"]).verdict == "holds"
    found = verdict(tmp_path / "2", {"a": a, "b": b, "c": c}, rivals=["b", "c"])
    assert found.verdict == "undecided" and len(found.details) == 2 and "2 rivals" in found.test
    assert found.p == pytest.approx(stats.ttest_rel(a, c, alternative="less").pvalue)


def test_one_rival_that_is_better_makes_it_fail(tmp_path):
    found = verdict(tmp_path, {"a": [0.40, 0.50, 0.62], "b": [0.5, 0.6, 0.7], "c": [0.1, 0.2, 0.3]}, rivals=["b", "c"])
    assert found.verdict == "fails" and found.p < 0.05 and found.effect > 0


def test_a_rival_that_always_diverges_is_worse_than_any_number(tmp_path):
    assert verdict(tmp_path / "1", {"a": [9.0, 8.0] * 3, "b": [DIVERGED] * 6}, rivals=["b"]).verdict == "holds"
    assert verdict(tmp_path / "2", {"a": [DIVERGED] * 6, "b": [9.0, 8.0] * 3}, rivals=["b"]).verdict == "fails"
    higher = verdict(tmp_path / "3", {"a": [0.1, 0.2] * 3, "b": [DIVERGED] * 6}, rivals=["b"], better="higher")
    assert higher.verdict == "holds"


def test_if_all_diverge_nothing_is_decided(tmp_path):
    found = verdict(tmp_path, {"a": [DIVERGED] * 3, "b": [DIVERGED] * 3}, rivals=["b"])
    assert (found.verdict, found.p, found.n) == ("undecided", 1.0, 3)


def test_some_diverged_runs_take_six_pairs_to_decide(tmp_path):
    # 2^-n for one direction, and a claim has two
    five = {"a": [0.1, 0.2, 0.3, 0.4, 0.5], "b": [0.5, 0.6, 0.7, 0.8, DIVERGED]}
    found = verdict(tmp_path / "5", five, rivals=["b"])
    assert (found.verdict, found.p, found.adjusted, found.more) == ("undecided", 1 / 32, 1 / 16, "about 1 more seed")
    six = {"a": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6], "b": [0.5, 0.6, 0.7, 0.8, 0.9, DIVERGED]}
    found = verdict(tmp_path / "6", six, rivals=["b"])
    assert (found.verdict, found.p, found.test) == ("holds", 1 / 64, "exact sign test")


def test_one_pair_is_none(tmp_path):
    found = verdict(tmp_path, {"a": [0.1, 0.2, MISSING], "b": [0.3, MISSING, 0.5]}, rivals=["b"])
    assert (found.verdict, found.n, found.expected) == ("undecided", 1, 3)
    assert "needs at least 2 paired seeds, has 1" in found.reason


def test_a_ratio_is_geometric(tmp_path):
    a, b = [2.0, 8.0, 3.9], [1.0, 4.0, 2.0]
    found = verdict(tmp_path / "1", {"a": a, "b": b}, kind="ratio", rivals=["b"], at_most=3)
    logs = np.log(a) - np.log(b)
    assert found.verdict == "holds" and found.effect == pytest.approx(np.exp(logs.mean()))
    assert found.p == pytest.approx(stats.ttest_1samp(logs, math.log(3), alternative="less").pvalue)
    same = {"a": a, "b": b}
    assert verdict(tmp_path / "2", same, kind="ratio", rivals=["b"], at_least=3).verdict == "fails"
    assert verdict(tmp_path / "3", same, kind="ratio", rivals=["b"], at_least=1.5).verdict == "holds"
    assert verdict(tmp_path / "4", same, kind="ratio", rivals=["b"], within=[1.8, 2.2]).verdict == "holds"
    assert verdict(tmp_path / "5", same, kind="ratio", rivals=["b"], within=[1.0, 1.5]).verdict == "fails"
    assert verdict(tmp_path / "6", same, kind="ratio", rivals=["b"], at_most=1.98).verdict == "undecided"


def test_a_ratio_turned_over_says_the_same(tmp_path):
    a, b = [2.0, 8.0, 3.9], [1.0, 4.0, 2.2]
    there = verdict(tmp_path / "1", {"a": a, "b": b}, kind="ratio", rivals=["b"], at_most=2.5)
    back = verdict(tmp_path / "2", {"a": b, "b": a}, kind="ratio", rivals=["b"], at_least=1 / 2.5)
    assert there.p == pytest.approx(back.p) and there.effect == pytest.approx(1 / back.effect)


@pytest.mark.parametrize("diverging", ["a", "b"])
def test_a_ratio_to_a_run_that_diverged_is_not_zero(tmp_path, diverging):
    outcomes = {"a": [2.0] * 3, "b": [1.0] * 3} | {diverging: [DIVERGED] * 3}
    found = verdict(tmp_path, outcomes, kind="ratio", rivals=["b"], at_most=3)
    assert math.isinf(found.effect) and "geometric mean unbounded, " in str(found.details[0])


def test_a_bound_is_on_the_mean_and_divergence_is_beyond_any(tmp_path):
    values = {"a": [2.30, 2.31, 2.29]}
    assert verdict(tmp_path / "1", values, kind="bound", at_least=2.2).verdict == "holds"
    assert verdict(tmp_path / "2", values, kind="bound", at_most=2.2).verdict == "fails"
    assert verdict(tmp_path / "3", {"a": [DIVERGED] * 6}, kind="bound", at_least=2.2).verdict == "holds"
    assert verdict(tmp_path / "4", {"a": [DIVERGED] * 6}, kind="bound", at_most=9e9).verdict == "fails"
    assert verdict(tmp_path / "5", {"a": [DIVERGED] * 6}, kind="bound", better="higher", at_most=0.2).verdict == "holds"


def test_runs_of_other_budgets_do_not_count_for_a_claim_unless_it_says_so(tmp_path):
    outcomes = {"a": [0.20, 0.31, 0.42], "b": [0.30, 0.40, 0.50]}
    found = verdict(tmp_path / "1", outcomes, cut=("b",), rivals=["b"])
    assert found.verdict == "not judged" and found.reason == "b: cut to 5 of 10 steps"
    assert verdict(tmp_path / "2", outcomes, cut=("b",), rivals=["b"], budgets="any").verdict == "holds"


def test_a_fair_rival_that_is_better_still_makes_it_fail(tmp_path):
    outcomes = {"a": [0.40, 0.50, 0.62], "b": [0.5, 0.6, 0.7], "c": [0.1, 0.2, 0.3]}
    assert verdict(tmp_path / "1", outcomes, cut=("b",), rivals=["b", "c"]).verdict == "fails"
    assert verdict(tmp_path / "2", outcomes, cut=("c",), rivals=["b", "c"]).verdict == "not judged"


def test_a_cost_per_step_is_judged_whatever_the_budget(tmp_path):
    outcomes = {"a": [0.2, 0.3, 0.4, 0.5, 0.6, 0.7], "b": [0.2, 0.3, 0.4, 0.5, 0.6, DIVERGED]}
    found = verdict(
        tmp_path, outcomes, cut=("b",), kind="ratio", metric="seconds_per_step", rivals=["b"], within=[0.5, 2]
    )
    assert found.n == 5 and found.verdict == "holds" and found.p == found.adjusted == 1 / 32


def test_a_value_that_is_not_finite_is_worse_than_any_number(tmp_path):
    higher = {"rivals": ["b"], "better": "higher"}
    assert verdict(tmp_path / "1", {"a": [math.inf] * 6, "b": [0.5, 0.6] * 3}, **higher).verdict == "fails"
    assert verdict(tmp_path / "2", {"a": [0.5, 0.6] * 3, "b": [math.inf] * 6}, rivals=["b"]).verdict == "holds"
