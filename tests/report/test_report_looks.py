"""Looks at the seeds of a claim: their p values by hand, and the error rate and the cost by simulation."""

import json
import math

import numpy as np
import pytest
from run_tree import a_run, evals, put
from scipy import special, stats

from sobench.report import pages, view
from sobench.report.claims import judge
from sobench.report.evidence import Evidence
from sobench.report.holm import ALPHA, adjust
from sobench.report.looks import LOOKS, Looks
from sobench.report.paired import NONE, T_TEST, between
from sobench.report.prospects import Prospects
from sobench.report.provenance import provenance
from sobench.report.schema.spec import Claim, Method, Report, Test
from sobench.results.collection import collect


def test_the_looks_grow_by_half_from_the_declared_seeds():
    assert Looks(3).numbers == (3, 5, 8, 12, 18, 27, 41) and Looks(5).last == 62
    assert Looks(1).numbers == Looks(2).numbers == (2, 3, 5, 8, 12, 18, 27)  # one seed tests nothing


def test_the_p_value_is_the_smallest_of_the_looks_times_their_number():
    noise = np.random.default_rng(0).normal(-0.8, 1.0, 8)
    samples = [noise[:3], noise[:5], noise[:8]]
    raw = [stats.ttest_1samp(sample, 0.0, alternative="less").pvalue for sample in samples]
    found = Looks(3).decide(samples, -math.inf, 0.0, exact=False)
    assert found.p_holds == pytest.approx(min(1.0, LOOKS * min(raw)))
    assert found.p_fails == pytest.approx(min(1.0, LOOKS * (1 - max(raw))))
    assert (found.n, found.test) == (8, T_TEST)
    assert Looks(3).decide([], -math.inf, 0.0, exact=False).test == NONE
    counts = Looks(3).decide([np.ones(3)], -math.inf, 2.0, exact=True)
    assert (counts.p_holds, counts.p_fails) == (0.0, 1.0)  # known, not tested


def test_a_count_that_turns_out_to_vary_is_tested():
    varying = [np.ones(3), np.array([1.0, 1.0, 1.0, 3.0, 1.0])]
    assert Looks(3).decide(varying, -math.inf, 2.0, exact=True).p_holds > 0.05


def evidence_of(root, seeds: dict[str, int], looks: Looks | None, missing=(), rivals=("b", "c")) -> Evidence:
    """A report with the claims "a is lower than b" and "a is lower than c", and so many seeds of each method.

    a - b is -1, a - c is about 0. missing: runs without a result, (method, seed).
    """
    noise = np.random.default_rng(3).normal(0, 0.2, (2, 99))
    runs = [a_run(name, seed) for name, number in seeds.items() for seed in range(number)]
    for run in runs:
        name = run.config["optimizer"]["name"]
        if (name, run.seed) not in missing:
            level = {"a": 0.0, "b": 1.0 + noise[0, run.seed], "c": noise[1, run.seed]}[name]
            put(root, run, evals("train_loss", 3.0, 5.0 + level), seconds=2.0 if name == "b" else 1.0)
    tests = {
        rival: Test(kind="compare", metric="train_loss", better="lower", subject="a", rivals=[rival])
        for rival in rivals
    }
    claims = [Claim(rival, "text", "source", test) for rival, test in tests.items()]
    methods = {name: Method(name, {"optimizer": name}) for name in ("a", "b", "c")}
    report = Report("t", "s", "e", methods, claims=claims, id="p/x", file="f")
    return Evidence(report, collect(runs, root), looks)


def p_of(sample, factor: int) -> float:
    return factor * stats.ttest_1samp(sample, 0.0, alternative="less").pvalue


def differences(rival: int, number: int) -> np.ndarray:
    noise = np.random.default_rng(3).normal(0, 0.2, (2, 99))
    return -((1.0 if rival == 0 else 0.0) + noise[rival, :number])


def test_a_number_of_seeds_between_two_looks_uses_the_last_complete_look(tmp_path):
    by_need, _ = judge(evidence_of(tmp_path, {"a": 7, "b": 7, "c": 3}, Looks(3)))
    assert (by_need.n, by_need.expected) == (5, 5)
    assert by_need.p == pytest.approx(min(p_of(differences(0, 3), LOOKS), p_of(differences(0, 5), LOOKS)))
    assert by_need.adjusted == pytest.approx(2 * 2 * by_need.p)  # Holm over two claims, two ways
    assert by_need.test == "paired t-test; alpha spending over looks at 3, 5, 8, 12, 18, 27, 41 seeds"
    fixed, _ = judge(evidence_of(tmp_path, {"a": 7, "b": 7, "c": 3}, None))
    assert (fixed.n, fixed.test) == (7, "paired t-test") and fixed.p == pytest.approx(p_of(differences(0, 7), 1))


def test_a_look_with_a_run_that_is_not_over_is_not_complete(tmp_path):
    seeds = {"a": 5, "b": 5, "c": 3}
    (verdict, _) = judge(evidence_of(tmp_path, seeds, Looks(3), missing=[("b", 4)]))
    assert verdict.n == 3 and verdict.p == pytest.approx(p_of(differences(0, 3), LOOKS))
    first, _ = judge(evidence_of(tmp_path / "other", seeds, Looks(3), missing=[("b", 1)]))
    assert (first.verdict, first.reason) == ("undecided", "the first look, at 3 seeds, is not complete")
    assert math.isnan(first.p)


def test_a_claim_that_is_not_tested_yet_is_in_the_family(tmp_path):
    """A family that grew with the seeds would be adjusted too little at first."""
    tested, untested = judge(evidence_of(tmp_path, {"a": 5, "b": 5, "c": 2}, Looks(3)))
    assert tested.adjusted == pytest.approx(4 * tested.p) and untested.n == 0


def test_an_undecided_claim_says_which_look_would_decide_it(tmp_path):
    _, close = judge(evidence_of(tmp_path, {"a": 3, "b": 3, "c": 3}, Looks(3)))
    assert close.verdict == "undecided" and close.need is not None
    assert close.more == "more seeds than the 41 of the last look" and set(close.need.chances) == {5, 8, 12, 18, 27, 41}
    sample = differences(1, 3)
    size = abs(sample.mean()) / sample.std(ddof=1)
    level = ALPHA / 2 / 2 / LOOKS  # two ways, two open claims
    critical = stats.t.isf(level, 40)
    assert close.need.chances[41] == pytest.approx(stats.nct.sf(critical, 40, size * math.sqrt(41)), abs=1e-6)
    assert close.need.methods == ("a", "c")


def test_the_next_step_is_the_best_chance_per_second_and_its_cost_is_of_missing_runs(tmp_path):
    evidence = evidence_of(tmp_path, {"a": 5, "b": 3, "c": 3}, Looks(3))
    ahead = Prospects(evidence, judge(evidence), range(41))
    steps = {step.claim.id: step for step in ahead.next_steps()}
    assert steps["b"].number == 5 and {seed for _, seed in steps["b"].runs} == {3, 4}
    assert len(steps["b"].runs) == 2 and steps["b"].seconds == pytest.approx(2 * 2.0)  # a's five seeds are there
    assert steps["c"].seconds == pytest.approx(2 * 1.0)
    assert ahead.next_steps()[0].claim.id == "b"  # of a chance of one half at least, against none


def test_the_page_and_the_provenance_name_the_looks(tmp_path):
    evidence = evidence_of(tmp_path, {"a": 3, "b": 3, "c": 3}, Looks(3))
    origin = provenance(evidence, "again")
    page = pages.report_markdown(view.of(evidence, json.loads(json.dumps(origin)), None, judge(evidence)))
    assert origin["looks"] == {"first": 3} and "- Seeds: added by need" in page
    fixed = evidence_of(tmp_path, {"a": 3, "b": 3, "c": 3}, None)
    plain = provenance(fixed, "again")
    assert "looks" not in plain and "by need" not in pages.report_markdown(view.of(fixed, plain, None, judge(fixed)))


# ---- by simulation: the error rate under optional stopping, and the runs that it costs

REPORTS, CLAIMS = 5_000, 8
EFFECTS = (0.0, 0.0, 0.05, -0.05, 0.15, -0.15, 0.5, -0.5, 1.5, -1.5)


def p_values(samples: np.ndarray, numbers: tuple[int, ...]) -> np.ndarray:
    """The p values of each look alone [2, looks, ...] of samples [..., seeds]: of "mean < 0" and of "mean > 0".

    As `paired.one_sided`: the t-test of finite numbers, else the exact sign test.
    """
    found = []
    for n in numbers:
        part = samples[..., :n]
        below, above = (part < 0).sum(-1), (part > 0).sum(-1)
        signs = [np.where(k > 0, special.bdtrc(k - 1, below + above, 0.5), 1.0) for k in (below, above)]
        finite = np.isfinite(part).all(-1)
        whole = np.where(np.isfinite(part), part, 0.0)
        spread = np.ptp(whole, axis=-1) > 1e-12 * np.abs(whole).max(-1)
        with np.errstate(divide="ignore", invalid="ignore"):
            t = whole.mean(-1) / (whole.std(-1, ddof=1) / math.sqrt(n))
        use_t = finite & spread
        found.append([np.where(use_t, special.stdtr(n - 1, s * t), p) for s, p in zip((1, -1), signs, strict=True)])
    return np.moveaxis(np.array(found), 0, 1)


def answers(p: np.ndarray, there: np.ndarray) -> np.ndarray:
    """1 holds, -1 fails, 0 undecided [reports, claims] of p values [2, reports, claims], as `holm.adjust` and `answer`.

    there: which claims a report has.
    """
    decided = []
    for way in p:
        way = np.where(there, way, np.inf)
        order = np.argsort(way, axis=1)
        factors = 2 * (there.sum(1, keepdims=True) - np.arange(way.shape[1]))
        ranked = np.maximum.accumulate(np.take_along_axis(way, order, 1) * np.maximum(factors, 1), axis=1)
        adjusted = np.empty_like(way)
        np.put_along_axis(adjusted, order, ranked, 1)
        decided.append(adjusted < ALPHA)
    return np.where(decided[0], 1, np.where(decided[1], -1, 0))


class Reports:
    """Synthetic reports whose claims, "the subject is lower than this rival", share the subject's runs.

    p: of each look alone [2, looks, reports, claims]. true: the truth [reports, claims]. A claim is true if the subject
    is better in more than half of all pairs, as in the calibration of a fixed number of seeds.
    """

    def __init__(
        self, noise, diverging: float, first: int, effects=EFFECTS, claims: int | None = None, reports=REPORTS
    ):
        rng = np.random.default_rng(17)
        numbers = Looks(first).numbers
        m = rng.integers(1, CLAIMS + 1, reports) if claims is None else np.full(reports, claims)
        self.numbers, self.there = numbers, np.arange(m.max()) < m[:, None]
        chosen = rng.integers(len(effects), size=self.there.shape)
        self.effect = np.array(effects)[chosen]
        shape = (*self.there.shape, numbers[-1])
        samples = self.effect[..., None] + noise(rng, (reports, 1, numbers[-1])) - noise(rng, shape)
        p, q = rng.uniform(0, diverging, (2, reports, 1)) if diverging else np.zeros((2, reports, 1))
        lost, won = rng.random((reports, 1, numbers[-1])) < p[..., None], rng.random(shape) < q[..., None]
        samples = np.where(lost & won, np.nan, np.where(lost, np.inf, np.where(won, -np.inf, samples)))
        self.samples, self.p = samples, p_values(samples, numbers)
        draws = noise(rng, (1, 100_000)) - noise(rng, (1, 100_000))
        chance = np.array([0.5 if e == 0 else (e + draws < 0).mean() for e in effects])[chosen]
        self.true = (1 - p) * (q + (1 - q) * chance) > (1 - q) * (p + (1 - p) * (1 - chance))
        self.by_looks = np.minimum.accumulate(self.p, axis=1) * LOOKS

    def wrong(self, found: np.ndarray) -> np.ndarray:
        """Whether each report has a wrong answer."""
        return ((found == np.where(self.true, -1, 1)) & self.there).any(1)

    def stopped_by_an_adversary(self, p: np.ndarray) -> float:
        """The share of wrong reports if somebody who knows the truth stops at the first look with a wrong answer."""
        return float(np.any([self.wrong(answers(p[:, k], self.there)) for k in range(LOOKS)], axis=0).mean())

    def stopped_at_the_first_answer(self, p: np.ndarray) -> float:
        by_look = np.array([answers(p[:, k], self.there) for k in range(LOOKS)])
        any_answer = (by_look != 0).any(2)
        stop = np.where(any_answer.any(0), any_answer.argmax(0), LOOKS - 1)
        return float(self.wrong(by_look[stop, np.arange(len(stop))]).mean())

    def by_our_rule(self) -> tuple[np.ndarray, np.ndarray]:
        """One claim after the other, the one with the smallest p value first, to its next look, until all are answered.

        Returns the answers and the look of each claim.
        """
        look = np.zeros(self.there.shape, dtype=int)
        rows, columns = np.indices(look.shape)
        while True:
            p = self.by_looks[:, look, rows, columns]
            found = answers(p, self.there)
            open_ones = self.there & (found == 0) & (look < LOOKS - 1)
            if not open_ones.any():
                return found, look
            best = np.where(open_ones, p.min(0), np.inf).argmin(1)
            look[np.arange(len(best)), best] += open_ones.any(1)


def normal(rng, shape):
    return rng.normal(size=shape)


def heavy(rng, shape):
    return rng.standard_t(2, size=shape)


def test_the_simulation_tests_as_the_package_does():
    made = Reports(heavy, 0.3, 3, reports=20)
    for report, claim in zip(*np.nonzero(made.there), strict=True):
        samples = [made.samples[report, claim, :n] for n in made.numbers]
        decision = Looks(3).decide(samples, -math.inf, 0.0, exact=False)
        assert decision.p_holds == pytest.approx(min(1.0, made.by_looks[0, -1, report, claim]), rel=1e-6)
        assert decision.p_fails == pytest.approx(min(1.0, made.by_looks[1, -1, report, claim]), rel=1e-6)
        assert between(samples[0], high=0.0).p_holds == pytest.approx(made.p[0, 0, report, claim], rel=1e-6)
    found = answers(made.by_looks[:, -1], made.there)
    for report in range(20):
        there = made.there[report]
        adjusted = adjust([(h, f) for h, f in made.by_looks[:, -1, report, there].T])
        expected = [1 if a.p_holds < ALPHA else -1 if a.p_fails < ALPHA else 0 for a in adjusted]
        assert found[report, there].tolist() == expected


@pytest.mark.parametrize(
    ("noise", "diverging", "first", "effects"),
    [
        pytest.param(normal, 0.0, 3, EFFECTS, id="normal"),
        pytest.param(normal, 0.0, 2, (0.0,), id="no effect"),
        pytest.param(heavy, 0.0, 4, EFFECTS, id="heavy tails"),
        pytest.param(heavy, 0.4, 5, EFFECTS, id="heavy tails, diverging runs"),
    ],
)
def test_wrong_verdicts_stay_in_one_report_of_twenty_whenever_the_adding_stops(noise, diverging, first, effects):
    made = Reports(noise, diverging, first, effects)
    assert made.stopped_by_an_adversary(made.by_looks) <= ALPHA
    assert made.stopped_at_the_first_answer(made.by_looks) <= ALPHA
    assert made.wrong(made.by_our_rule()[0]).mean() <= ALPHA


@pytest.mark.parametrize(("first", "effects"), [(3, EFFECTS), (2, (0.0,))])
def test_the_test_of_a_fixed_number_repeated_at_each_look_is_wrong_too_often(first, effects):
    made = Reports(normal, 0.0, first, effects)
    assert made.stopped_by_an_adversary(made.p) > ALPHA


@pytest.mark.parametrize(
    ("sigmas", "saved"),
    [((0.5,), -0.25), ((0.75,), 0.2), ((1.0,), 0.4), ((2.0,), 0.2), ((0.75, 1.0, 1.5, 2.0), 0.4)],
)
def test_the_runs_that_it_saves_against_a_fixed_number_of_seeds_of_equal_power(sigmas, saved):
    """Of one claim, or of four that share the subject's runs. sigmas: effect over spread of the paired differences."""
    claims = len(sigmas)
    made = Reports(normal, 0.0, 3, [-math.sqrt(2) * size for size in sigmas], claims, reports=1_000)
    found, look = made.by_our_rule()
    seeds = np.array(made.numbers)[look]
    runs, power = (seeds.sum(1) + seeds.max(1)).mean(), (found == 1).mean()

    def power_of(n: int) -> float:
        return float((answers(p_values(made.samples, (n,))[:, 0], made.there) == 1).mean())

    fixed = next(n for n in range(2, made.numbers[-1] + 1) if power_of(n) >= power)
    assert 1 - runs / (fixed * (claims + 1)) >= saved
