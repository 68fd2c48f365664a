"""The numbers of a comparison, from studies made by hand."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from sobench.report.comparison import analysis, verdict
from sobench.report.comparison.page import page, to_latex, to_markdown
from sobench.report.comparison.rows import to_csv
from sobench.report.comparison.study import LEVELS, Entry, Problem, Study
from sobench.report.comparison.undecided import undecided
from sobench.report.holm import holm

INF = math.inf


def an_entry(times, ends=100.0, tuned=None, **levels):
    times = np.array(times, dtype=float)
    by_level = {("work", level): np.array(levels.get(level, times), dtype=float) for level in LEVELS}
    seeds = tuple(range(len(times)))
    return Entry(
        seeds,
        tuple(f"run-{seed}" for seed in seeds),
        "lr 0.1",
        np.where(np.isfinite(times), 0.1, 1.0),
        {"work": np.full(len(times), float(ends))},
        by_level,
        tuned or {"trials": 3},
        2.0,
    )


def a_study(**problems):
    """A study by problem -> method -> times, or an entry. The first method is the baseline."""
    made = tuple(
        Problem(
            name,
            f"{name}, mlp",
            "train_loss",
            "lower",
            dict(zip(LEVELS, (0.1, 0.102, 0.098), strict=True)),
            "the median over 3 seeds of the best value of base",
            {method: own if isinstance(own, Entry) else an_entry(own) for method, own in methods.items()},
        )
        for name, methods in problems.items()
    )
    methods = tuple(made[0].entries)
    return Study("Comparison", "sobench compare", methods[0], methods, ("work",), made)


def test_the_ratio_is_a_geometric_mean_over_problems_of_paired_times():
    found = analysis.pair(a_study(a={"base": [10, 20], "x": [5, 10]}, b={"base": [10], "x": [80]}), "work", "x")
    assert found.ratio.mean == pytest.approx(math.sqrt(0.5 * 8))
    assert found.ratios == {"a": pytest.approx(0.5), "b": pytest.approx(8)}
    assert found.better.mean == pytest.approx((1 + 0) / 2)


def test_a_missed_target_counts_as_the_horizon():
    found = analysis.pair(a_study(a={"base": [INF, 50, INF], "x": [25, INF, INF]}), "work", "x")
    assert found.ratio.mean == pytest.approx(math.exp(np.mean(np.log([0.25, 2, 1]))))
    assert (found.bounds, found.open, found.pairs) == (2, 1, 3)
    assert found.better.mean == pytest.approx((1 + 0 + 0.5) / 3)


def test_wins_are_by_the_paired_test():
    steady = {"base": [10, 11, 12, 13, 14], "x": [5, 5.6, 6, 6.4, 7]}
    noisy = {"base": [10, 11, 12, 13, 14], "x": [5, 30, 6, 40, 7]}
    slower = {"base": [5, 5.6, 6, 6.4, 7], "x": [10, 11, 12, 13, 14]}
    found = analysis.pair(a_study(a=steady, b=noisy, c=slower), "work", "x")
    assert found.by_problem == {"a": "win", "b": "tie", "c": "loss"}


def test_wilcoxon_is_exact_and_needs_six_problems():
    means = [np.array([value]) for value in (-1, -2, -3, -4, -5, -6)]
    assert analysis.wilcoxon(means) == pytest.approx(2 / 2**6)
    assert math.isnan(analysis.wilcoxon(means[:5]))
    mixed = [np.array([value]) for value in (-1, 2, -3, -4, 5, -6, -7.5)]
    by_scipy = stats.wilcoxon([-1, 2, -3, -4, 5, -6, -7.5], method="exact").pvalue
    assert analysis.wilcoxon(mixed) == pytest.approx(by_scipy)
    zeros = [np.array([value]) for value in (0, 0, -1, -2, -3, -4)]  # by hand: one of all signs of four
    assert analysis.wilcoxon(zeros) == pytest.approx(2 / 2**4)


@pytest.mark.parametrize("seed", range(10))
def test_wilcoxon_with_ties_and_zeros_is_that_of_all_signs(seed):
    means = np.random.default_rng(seed).integers(-4, 4, size=9).astype(float)
    ranks = stats.rankdata(np.abs(means))[means != 0]
    signs = np.array(list(itertools.product([0, 1], repeat=len(ranks))))
    sums, own = signs @ ranks, ranks[means[means != 0] > 0].sum()
    by_hand = 2 * min((sums <= own).mean(), (sums >= own).mean())
    assert analysis.wilcoxon([np.array([mean]) for mean in means]) == pytest.approx(min(1, by_hand))


def test_holm_by_hand():
    np.testing.assert_allclose(holm(np.array([0.04, 0.01, 0.03])), [0.06, 0.03, 0.06])
    np.testing.assert_allclose(holm(np.array([0.9, 0.8])), [1.0, 1.0])


def eight(x, y):
    """Eight problems; x and y have the baseline's times, times these factors, with some noise over seeds."""
    problems = {}
    for place in range(8):
        noise = np.random.default_rng(place).normal(scale=0.1, size=(3, 5))
        base = 20 * np.exp(noise[0])
        problems[f"p{place}"] = {"base": base, "x": x * 20 * np.exp(noise[1]), "y": y * 20 * np.exp(noise[2])}
    return a_study(**problems)


def test_what_is_faster_everywhere_is_said_to_be_faster():
    pairs = analysis.pairs(eight(0.5, 1.0), "work")
    assert [verdict.answer(pair) for pair in pairs] == ["faster", "undecided"]
    assert pairs[0].p == pytest.approx(2 / 2**8) and pairs[0].adjusted == pytest.approx(4 / 2**8)
    assert pairs[0].ratio.low < 0.5 < pairs[0].ratio.high < 0.6
    assert analysis.pairs(eight(2.0, 1.0), "work")[0].ratio.mean == pytest.approx(2.0, rel=0.1)


def sentence(study, pair) -> str:
    """What would decide an undecided pair by work."""
    (one,) = undecided(study, "work", [pair])
    return one.sentence


def test_few_seeds_of_one_problem_decide_nothing():
    (pair,) = analysis.pairs(a_study(a={"base": [10, 11, 12], "x": [5, 6, 6]}), "work")
    assert verdict.answer(pair) == "undecided" and math.isnan(pair.adjusted)
    study = a_study(a={"base": [10, 11, 12], "x": [5, 6, 6]})
    assert "about 2 more seeds would decide it (8 s of training)" in sentence(study, pair)


def test_a_time_that_is_not_known_is_left_out():
    entries = {
        name: replace(an_entry(times), seconds=math.nan)
        for name, times in {"base": [10, 11, 12], "x": [5, 6, 6]}.items()
    }
    study = a_study(a=entries)
    (pair,) = analysis.pairs(study, "work")
    assert sentence(study, pair).endswith("about 2 more seeds would decide it.")


def test_ranks_follow_the_score_and_say_on_what_they_depend():
    study = a_study(
        a={"base": [10], "x": [1], "y": [3]}, b={"base": [10], "x": [9], "y": [8]}, c={"base": [10], "x": [9], "y": [8]}
    )
    ranks = {rank.method: rank for rank in analysis.ranks(study, "work")}
    assert [rank.method for rank in analysis.ranks(study, "work")] == ["x", "y", "base"]
    assert ranks["x"].moves["without a"] == (1, 2) and ranks["y"].moves["without a"] == (2, 1)
    lines = verdict.ranks(study, analysis.on_axis(study, "work"))
    assert "Rank of x is not stable: leaves 1st for 2nd without a." in lines


def test_changes_that_move_a_rank_alike_are_said_together():
    moves = {
        "without a": (1, 2),
        "without b": (1, 3),
        "without c": (1, 2),
        "without kfac": (1, 2),
        "with a target 2% harder": (1, 2),
        "with a target 2% easier": (1, 3),
    }
    study = a_study(a={"base": [10], "x": [1]})
    numbers = replace(analysis.on_axis(study, "work"), ranks=[analysis.Rank("x", 1.0, 1, moves)])
    assert verdict.ranks(study, numbers) == [
        "Rank of x is not stable: leaves 1st for 2nd without a, c or kfac, or with a target 2% harder; leaves 1st for "
        "3rd without b, or with a target 2% easier."
    ]


def test_a_rank_that_hangs_on_the_target():
    study = a_study(a={"base": [10], "x": an_entry([9], harder=[INF], easier=[9]), "y": an_entry([20])})
    ranks = {rank.method: rank for rank in analysis.ranks(study, "work")}
    assert ranks["x"].moves == {"with a target 2% harder": (1, 3)}
    assert ranks["y"].moves == {"with a target 2% harder": (3, 2)}


def test_a_removed_method_above_is_no_move_of_those_below():
    study = a_study(a={"base": [10], "x": [1], "y": [3]})
    assert all(not rank.moves for rank in analysis.ranks(study, "work"))


def test_the_limits_are_said():
    tuned = {"trials": 9, "edge": ["optimizer.lr"]}
    methods = {"base": an_entry([10] * 5), "x": an_entry([5] * 5, ends=1000.0, tuned=tuned)}
    lines = "\n".join(verdict.limits(a_study(a=methods)))
    for text in (
        "1 problem: the intervals are about these alone",
        "half of its seeds reach it by definition",
        "Best setting on the edge of its grid, so that a better one may lie beyond: x on a.",
        "Unequal numbers of tuning trials: base 3, x 9.",
        "By work, judged on their beginning only, up to the horizon: x (10% of its runs, on 1 problem). The horizon is "
        "where the runs of base end; longer ones would move it.",
        "There is no axis of time",
    ):
        assert text in lines


def test_unequal_trials_on_many_problems_are_one_line():
    counts = {"a": (6, 20), "b": (4, 20), "c": (5, 9)}
    study = a_study(
        **{
            name: {"base": an_entry([10], tuned={"trials": of_base}), "x": an_entry([9], tuned={"trials": of_x})}
            for name, (of_base, of_x) in counts.items()
        }
    )
    (line,) = [line for line in verdict.limits(study) if "Unequal" in line]
    assert line == "Unequal numbers of tuning trials on each problem: base 4 to 6, x 9 to 20."


def test_of_many_undecided_methods_the_cheapest_to_decide_have_a_sentence_and_all_a_cell():
    """Methods with the same times need the same number of seeds: the one with the shorter runs takes less time."""
    base, faster = [10, 11, 12, 13], [9, 10.9, 10.5, 12.9]
    lengths = {"unknown": math.nan, "slow": 100.0, "quick": 1.0, "middle": 10.0}
    entries = {name: replace(an_entry(faster), seconds=seconds) for name, seconds in lengths.items()}
    study = a_study(a={"base": replace(an_entry(base), seconds=1.0), **entries, "same": an_entry(base)})
    found = {one.pair.method: one for one in undecided(study, "work", analysis.pairs(study, "work"))}
    assert len({found[name].count for name in lengths}) == 1
    count = found["quick"].count
    assert found["quick"].seconds == pytest.approx(2 * count) and found["slow"].seconds == pytest.approx(101 * count)
    section = page(study).sections[0]
    first, second = [text for text in section.texts if "undecided by work" in text]
    assert first.startswith("quick, ") and second.startswith("middle, ")
    assert [row[0] for row in section.rows] == ["unknown", "slow", "quick", "middle", "same"]
    cells = dict(section.rows)
    assert cells["quick"] == f"{count} more seeds, {2 * count:.2g} s" and cells["unknown"] == f"{count} more seeds"
    assert cells["same"] == "no difference"


def test_two_undecided_methods_have_a_sentence_each_and_no_table():
    times = {"base": [10, 11, 12], "x": [9, 10.9, 10.5], "y": [10, 11, 12]}
    section = page(a_study(a=times)).sections[0]
    assert not section.rows and [text.split(",")[0] for text in section.texts[1:]] == ["x", "y"]


def test_the_page_has_every_method_and_escapes_its_names():
    study = a_study(**{"a|b": {"base": [10, 11, 12, 13, 14], "x_$1": [5, 5.5, INF, 6.4, 7]}})
    shown = page(study)
    text, latex = to_markdown(shown, "figure.png"), to_latex(shown)
    assert r"x\_\$1" in text and r"a\|b" in text and r"x\_\$1" in latex and "a$|$b" in latex or r"\textbar" in latex
    assert text.count("## ") == len(shown.sections)
    numbers = to_csv(study, shown.numbers).splitlines()
    assert numbers[0] == "axis,problem,method,what,value,low,high"
    assert any(line.startswith("work,,x_$1,ratio to the baseline,") for line in numbers)


def test_a_ratio_that_the_seeds_contradict_is_undecided():
    """Very fast on one problem, late on the other two: the mean of the logarithms alone would say faster."""
    won = {"base": [20, 21, 22, 23, 24], "x": [1, 1.1, 1.2, 1.3, 1.4]}
    lost = {"base": [20, 21, 22, 23, 24], "x": [22, 23, 24, 25, 26]}
    study = a_study(a=won, b=lost, c=lost)
    (pair,) = analysis.pairs(study, "work")
    assert pair.ratio.high < 1 and pair.adjusted < 0.05 and pair.better.mean == pytest.approx(1 / 3)
    assert verdict.answer(pair) == "undecided"
    assert "contradict each other" in sentence(study, pair)


def test_what_would_decide_is_at_least_one_more():
    """A difference that a single test would call significant, and Holm's method over three does not."""
    times = {"base": [10, 11, 12, 13, 14, 15], "x": [9, 10.9, 10.5, 12.9, 12, 14.9]}
    noise = {"y": [10.1, 10.9, 12.1, 12.8, 14.2, 14.9], "z": [9.8, 11.2, 11.9, 13.1, 13.8, 15.3]}
    study = a_study(a=times | noise | {"same": times["base"]})
    x, _, _, same = analysis.pairs(study, "work")
    assert x.adjusted >= 0.05 and verdict.answer(x) == "undecided"
    said = sentence(study, x)
    assert int(said.split("about ")[1].split(" ")[0].replace(",", "")) >= 1
    assert "no difference that more would decide" in sentence(study, same)


def test_settings_that_a_method_has_on_all_problems_are_said_once():
    def tuned(settings):
        return replace(an_entry([1, 2]), settings=settings)

    one = {"base": tuned("lr 0.1, betas [0.9, 0.99], eps 1"), "x": tuned("lr 0.1, damping 1")}
    two = {"base": tuned("lr 0.3, betas [0.9, 0.99], eps 1"), "x": tuned("lr 0.1, damping 1")}
    shown = next(section for section in page(a_study(a=one, b=two)).sections if section.title == "Settings")
    assert shown.texts == ["On all problems, base: betas [0.9, 0.99], eps 1.", "On all problems, x: lr 0.1, damping 1."]
    assert [row[:3] for row in shown.rows] == [
        ["a", "base", "lr 0.1"],
        ["a", "x", "–"],
        ["b", "base", "lr 0.3"],
        ["b", "x", "–"],
    ]
    alone = next(section for section in page(a_study(a=one)).sections if section.title == "Settings")
    assert not alone.texts and alone.rows[0][2] == "lr 0.1, betas [0.9, 0.99], eps 1"
