"""Holm's method over a report's claims, the seeds that a claim still needs, and the error rate by simulation."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from run_tree import a_run, evals, put
from scipy import stats

from sobench.report.claims import answer, counted, judge
from sobench.report.evidence import Evidence
from sobench.report.holm import ALPHA, adjust
from sobench.report.paired import between, interval, needed, power
from sobench.report.schema.spec import Claim, Method, Report, Test
from sobench.results.collection import collect


def test_each_way_is_a_family_adjusted_by_holm_at_half_the_level():
    # by hand, of 0.001, 0.01, 0.2: 3 x 0.001, max(that, 2 x 0.01), max(that, 1 x 0.2); doubled for the two ways
    found = adjust([(0.01, 0.99), (0.001, 0.999), (0.2, 0.8)])
    assert [f.p_holds for f in found] == pytest.approx([0.04, 0.006, 0.4])
    assert [f.p_fails for f in found] == [1.0, 1.0, 1.0]
    assert [f.p_fails for f in adjust([(0.99, 0.01), (1.0, 0.02)])] == pytest.approx([0.04, 0.04])
    assert adjust([(0.01, 0.99)])[0].p_holds == 0.02 and adjust([]) == []


def test_the_level_of_an_open_claim_is_that_of_the_next_step():
    found = adjust([(0.0001, 1.0), (0.03, 0.97), (0.04, 0.96)])
    assert [answer(f) for f in found] == ["holds", "undecided", "undecided"]
    assert found[1].level_holds == ALPHA / 2 / 2  # two are open
    assert answer(adjust([(0.0001, 1.0), (0.9 * ALPHA / 4, 1.0), (0.04, 0.96)])[1]) == "holds"


def test_the_interval_is_students():
    sample = np.array([0.1, 0.3, -0.05, 0.2])
    expected = stats.t.interval(0.95, 3, loc=sample.mean(), scale=stats.sem(sample))
    assert interval(sample) == pytest.approx(expected)
    assert all(map(math.isnan, interval(np.array([0.5, 0.5])))) and math.isnan(interval(np.array([0.5, math.inf]))[0])


@pytest.mark.parametrize(("mean", "spread"), [(1.0, 1.0), (0.5, 1.0), (3.0, 1.0)])
def test_the_seeds_named_have_the_power_and_one_less_has_not(mean, spread):
    sample = mean + spread * np.array([-1.0, 0.0, 1.0])  # of standard deviation `spread`
    seeds, rng = needed(sample, 0.0, 0.05), np.random.default_rng(0)

    def power(n: int) -> float:
        draws = rng.normal(mean, spread, size=(20_000, n))
        return float(np.mean(stats.ttest_1samp(draws, 0.0, axis=1, alternative="greater").pvalue < 0.05))

    assert power(seeds) > 0.79 and (seeds == 2 or power(seeds - 1) < 0.81)


def test_signs_need_as_many_seeds_as_halves_make_the_level():
    won = np.array([-math.inf] * 3)
    assert [needed(won, 0.0, level) for level in (0.05, 0.025, 0.01)] == [5, 6, 7]  # 2^-n
    assert needed(np.array([1.0, -1.0, math.inf, -math.inf]), 0.0, 0.05) is None
    assert needed(np.array([1e-6, 1.0, -1.0]), 0.0, 0.05) is None  # more than a thousand


@pytest.mark.parametrize("level", [0.05, 0.01, 0.05 / 38])
def test_the_power_of_a_sign_test_is_that_of_the_binomial_distribution(level):
    """By the definition: the least count of signs whose p value is at most the level, found by trying all."""
    seeds = np.arange(2, 60)
    found = power(np.array([math.inf] * 7 + [-1.0] * 2), 0.0, level, seeds)
    for n, probability in zip(seeds, found, strict=True):
        p_value = [sum(math.comb(n, k) for k in range(fewest, n + 1)) / 2**n for fewest in range(n + 2)]
        fewest = next(count for count in range(n + 2) if p_value[count] <= level)
        wanted = sum(math.comb(n, k) * (7 / 9) ** k * (2 / 9) ** (n - k) for k in range(fewest, n + 1))
        assert probability == pytest.approx(wanted, abs=1e-12)


def report_of(root, *claims: Claim):
    runs = [a_run(name, seed) for name in ("a", "b", "c") for seed in range(4)]
    base = {"a": 1.0, "b": 1.01, "c": -1.0}
    for run in runs:
        name = run.config["optimizer"]["name"]
        noise = [0.0, 0.003, -0.002, 0.004][run.seed] * (name == "b")
        put(root, run, evals("train_loss", 3.0, base[name] + noise), state_bytes=1)
    methods = {name: Method(name, {"optimizer": name}) for name in base}
    return Evidence(Report("t", "s", "e", methods, claims=list(claims), id="p/x", file="f"), collect(runs, root))


def claim(name: str, kind: str = "compare", **test) -> Claim:
    about = {"kind": kind, "metric": "train_loss", "better": "lower", "subject": "a", "rivals": ["b"]}
    return Claim(name, "text", "source", Test(**(about | test)))


def test_a_claim_is_answered_by_its_adjusted_p_value(tmp_path):
    (alone,) = judge(report_of(tmp_path, claim("1")))
    raw = stats.ttest_1samp([-0.01, -0.013, -0.008, -0.014], 0.0, alternative="less").pvalue
    assert alone.verdict == "holds" and alone.p == pytest.approx(raw) and alone.adjusted == pytest.approx(2 * raw)
    several = judge(report_of(tmp_path, *[claim(str(k)) for k in range(14)], claim("cost", metric="state_bytes")))
    assert several[0].adjusted == pytest.approx(28 * raw) and several[0].verdict == "undecided"
    assert several[0].more.startswith("about ") and several[-1].test.startswith("a count")  # no cost is in the family


def test_a_logarithm_that_is_not_defined_is_an_error_of_the_claim(tmp_path):
    bad, good = judge(report_of(tmp_path, claim("bad", "ratio", rivals=["c"], at_most=2.0), claim("good")))
    assert bad.verdict == "not judged" and good.verdict == "holds"
    for part in ("p/x", "claim bad", "seed-0", "train_loss", "-1", "above 0"):
        assert part in bad.reason
    assert "\n" not in bad.reason


def test_the_answers_are_counted_in_five_classes():
    assert counted(["holds", "not run", "holds"]) == "2 holds, 0 fails, 0 undecided, 0 not judged, 1 not run"


# ---- the error rate, by simulation

REPORTS = 2_000
EFFECTS = (0.0, 0.0, 0.05, -0.05, 0.15, -0.15, 0.5, -0.5, 1.5, -1.5)
Noise = Callable[[np.random.Generator, tuple[int, int]], np.ndarray]


def better(effect: float, noise: Noise) -> float:
    """P(the subject is better by the noise alone), of runs that do not diverge; 1/2 without an effect."""
    rng = np.random.default_rng(1)
    return 0.5 if effect == 0 else float((effect + noise(rng, (1, 100_000)) - noise(rng, (1, 100_000)) < 0).mean())


def wrong_reports(
    noise: Noise, diverging: tuple[float, float], grain: float, decide: Callable[[list[tuple[float, float]]], list[str]]
) -> float:
    """The share of synthetic reports with a wrong verdict.

    A report has n = 2 to 10 seeds and 1 to 8 claims "the subject has a lower value than this rival", which share the
    subject's runs. A claim is true if the subject is better in more than half of all pairs. diverging: the largest
    probabilities with which a run of the subject, and of a rival, diverges. grain: values are multiples of it.
    """
    rng = np.random.default_rng(17)
    chances = {effect: better(effect, noise) for effect in EFFECTS}
    wrong = 0
    for _ in range(REPORTS):
        n, m = int(rng.integers(2, 11)), int(rng.integers(1, 9))
        effects = rng.choice(EFFECTS, m)
        p, q = rng.uniform(0, 1, 2) * diverging
        samples = effects[:, None] + noise(rng, (1, n)) - noise(rng, (m, n))
        samples = np.round(samples / grain) * grain if grain else samples
        lost, won = rng.random((1, n)) < p, rng.random((m, n)) < q
        samples[np.broadcast_to(lost, (m, n)) & ~won] = math.inf
        samples[~lost & won] = -math.inf
        samples[lost & won] = math.nan
        decisions = [between(sample, high=0.0) for sample in samples]
        answers = decide([(d.p_holds, d.p_fails) for d in decisions])
        for effect, verdict in zip(effects, answers, strict=True):
            chance = chances[effect]
            true = (1 - p) * (q + (1 - q) * chance) > (1 - q) * (p + (1 - p) * (1 - chance))
            if verdict == ("fails" if true else "holds"):
                wrong += 1
                break
    return wrong / REPORTS


def adjusted(p_values: list[tuple[float, float]]) -> list[str]:
    return [answer(p) for p in adjust(p_values)]


def unadjusted(p_values: list[tuple[float, float]]) -> list[str]:
    return ["holds" if p < ALPHA else "fails" if q < ALPHA else "undecided" for p, q in p_values]


def normal(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    return rng.normal(size=shape)


def t_with(degrees: int) -> Noise:
    return lambda rng, shape: rng.standard_t(degrees, size=shape)


@pytest.mark.parametrize(
    ("noise", "diverging", "grain"),
    [
        pytest.param(normal, (0.0, 0.0), 0.0, id="normal"),
        pytest.param(t_with(3), (0.0, 0.0), 0.0, id="heavy tails"),
        pytest.param(t_with(2), (0.4, 0.4), 0.0, id="very heavy tails, diverging seeds"),
        pytest.param(normal, (0.5, 0.0), 0.0, id="the subject diverges"),
        pytest.param(normal, (0.0, 0.0), 2.0, id="coarse values, as of accuracies"),
    ],
)
def test_wrong_verdicts_are_in_at_most_one_report_of_twenty(noise, diverging, grain):
    assert wrong_reports(noise, diverging, grain, adjusted) <= ALPHA


def test_the_simulation_finds_the_errors_of_claims_that_are_not_adjusted():
    assert wrong_reports(normal, (0.0, 0.0), 0.0, unadjusted) > ALPHA
