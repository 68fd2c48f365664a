"""Claims that speak of every row of a run, or of a share of them: `at: every` and `kind: share`."""

import math

import numpy as np
import pytest
from judging import verdict_on
from run_tree import a_run, put, row
from scipy import stats

from sobench.report.schema.spec import Method

DIVERGED = "diverged"
SERIES = {name: Method(name, {"optimizer": "reference"}) for name in ("tnt", "shampoo")}
"""Two series of one run: its columns cosine/tnt and cosine/shampoo."""
PAPER = {"paper": {"steps": 1}}
RUNS = {name: Method(name, {"optimizer": name}) for name in ("a", "b")}


def series(root, *seeds: dict[str, list[float]], **test):
    """The verdict about runs that recorded these columns, a value a step."""
    runs = [a_run("reference", seed, budgets=PAPER) for seed in range(len(seeds))]
    for run, columns in zip(runs, seeds, strict=True):
        steps = max(map(len, columns.values()))
        rows = [
            row(
                "train",
                k + 1,
                loss=1.0,
                **{f"cosine/{name}": values[k] for name, values in columns.items() if k < len(values)},
            )
            for k in range(steps)
        ]
        put(root, run, rows)
    about = {"metric": "cosine/{method}", "rows": "train", "better": "higher", "subject": "tnt"}
    return verdict_on(runs, root, SERIES, **(about | test))


def curves(root, outcomes: dict[str, list], **test):
    """The verdict on the training losses by step of runs of two methods; DIVERGED is a run that did at once."""
    runs = [a_run(name, seed, budgets=PAPER) for name, seeds in outcomes.items() for seed in range(len(seeds))]
    for run in runs:
        outcome = outcomes[run.config["optimizer"]["name"]][run.seed]
        values = [9e9] if outcome == DIVERGED else outcome
        put(
            root,
            run,
            [row("train", k + 1, loss=value) for k, value in enumerate(values)],
            "diverged" if outcome == DIVERGED else "done",
        )
    return verdict_on(
        runs, root, RUNS, **({"metric": "loss", "rows": "train", "subject": "a", "budgets": "any"} | test)
    )


A, B, C = [0.70, 0.61, 0.75], [0.68, 0.63, 0.74], [0.71, 0.62, 0.77]


def test_every_row_is_judged_by_the_one_that_is_least_so(tmp_path):
    found = series(tmp_path, *({"tnt": values} for values in (A, B, C)), kind="bound", at="every", at_least=0.55)
    expected = stats.ttest_1samp([0.61, 0.63, 0.62], 0.55, alternative="greater")
    assert (found.verdict, found.p, found.n) == ("holds", pytest.approx(expected.pvalue), 3)
    assert found.effect == pytest.approx(0.62)
    assert (
        series(tmp_path, *({"tnt": v} for v in (A, B, C)), kind="bound", at="every", at_least=0.66).verdict == "fails"
    )
    assert series(
        tmp_path, *({"tnt": v} for v in (A, B, C)), kind="bound", at="every", at_most=0.9
    ).effect == pytest.approx(np.mean([0.75, 0.74, 0.77]))


def test_a_mean_inside_is_not_enough_for_every_row(tmp_path):
    wide = [[0.1, 0.9, 0.5], [0.11, 0.88, 0.5], [0.09, 0.9, 0.5]]
    assert series(tmp_path, *({"tnt": v} for v in wide), kind="bound", at="every", within=[0.3, 0.8]).verdict == "fails"
    inside = series(tmp_path, *({"tnt": v} for v in (A, B, C)), kind="bound", at="every", within=[0.5, 0.9])
    assert inside.verdict == "holds" and "over 2 parts" in inside.test
    assert ["lowest" in detail.what for detail in inside.details] == [True, False]


def test_rows_before_the_start_do_not_count(tmp_path):
    seeds = [{"tnt": [-0.5 + values[0] / 10, *values]} for values in (A, B, C)]
    bound = {"kind": "bound", "at": "every", "at_least": 0.55}
    assert series(tmp_path, *seeds, **bound).verdict == "fails"
    assert series(tmp_path, *seeds, start={"step": 2}, **bound).verdict == "holds"


def test_series_of_one_run_are_compared_step_by_step(tmp_path):
    # the mean of tnt is far above, and so is every row but for the second of the third seed
    better = [{"tnt": v, "shampoo": [x - 0.2 - 0.01 * s for x in v]} for s, v in enumerate((A, B, C))]
    compare = {"kind": "compare", "rivals": ["shampoo"], "at": "every"}
    found = series(tmp_path, *better, **compare)
    assert found.verdict == "holds" and found.effect == pytest.approx(0.21)
    crossing = [*better[:2], {"tnt": C, "shampoo": [0.1, 0.9, 0.1]}]
    assert series(tmp_path, *crossing, **compare).verdict == "undecided"
    ratio = series(tmp_path, *better, kind="ratio", rivals=["shampoo"], at="every", at_least=1.2)
    assert ratio.verdict == "holds"
    worst = [min(np.log(np.array(of["tnt"]) / np.array(of["shampoo"]))) for of in better]
    assert ratio.effect == pytest.approx(np.exp(np.mean(worst)))


def test_several_metrics_must_all_do(tmp_path):
    two = [{"tnt": v, "shampoo": [x - 0.3 for x in v]} for v in (A, B, C)]
    test = {"kind": "bound", "metric": ["cosine/tnt", "cosine/shampoo"], "at": "every", "at_least": 0.5}
    found = series(tmp_path, *two, **test)
    assert found.verdict == "fails" and len(found.details) == 2 and "cosine/shampoo" in str(found.details[1])
    assert series(tmp_path, *two, **(test | {"at_least": 0.2})).verdict == "holds"


def test_a_share_is_of_the_rows_that_are_there(tmp_path):
    seeds = [{"tnt": [1.0] * 19 + [20.0]}, {"tnt": [1.0] * 9 + [20.0]}, {"tnt": [1.0] * 18 + [math.nan] * 2 + [20.0]}]
    found = series(tmp_path, *seeds, kind="share", better="lower", at_most=10, share=0.8)
    shares = [19 / 20, 9 / 10, 18 / 19]
    assert found.effect == pytest.approx(np.mean(shares)) and found.verdict == "holds"
    assert found.p == pytest.approx(stats.ttest_1samp(shares, 0.8, alternative="greater").pvalue)
    assert series(tmp_path, *seeds * 2, kind="share", better="lower", at_most=10, share=0.99).verdict == "fails"
    assert (
        series(tmp_path, *seeds, kind="share", better="lower", at_most=20, share=0.99).effect == 1.0
    )  # the bound counts


def test_a_share_of_the_steps_that_a_rival_loses(tmp_path):
    seeds = [{"tnt": [3, 3, 3, 3], "shampoo": [1, 1, 1, 4]}, {"tnt": [3, 3, 3, 3], "shampoo": [3, 1, 1, 1]}] * 3
    found = series(tmp_path, *seeds, kind="share", rivals=["shampoo"], share=0.5)  # a tie is not better
    assert (found.verdict, found.effect) == ("holds", 0.75)
    assert "share of rows better than shampoo 0.75" in str(found.details[0])


def test_one_seed_decides_nothing(tmp_path):
    found = series(tmp_path, {"tnt": A}, kind="share", at_least=0.5, share=0.5)
    assert (found.verdict, found.reason) == ("undecided", "needs at least 2 seeds, has 1")


def test_only_steps_that_both_recorded_are_compared(tmp_path):
    outcomes = {"a": [[5.0, 4.0, 3.0], [5.1, 4.1, 3.1]], "b": [[6.0, 5.5], [6.2, 5.4]]}  # b stops a step earlier
    found = curves(tmp_path, outcomes, kind="compare", rivals=["b"], at="every")
    assert found.effect == pytest.approx(np.mean([-1.0, -1.1]))


def test_a_run_that_diverged_is_worse_in_every_row(tmp_path):
    fine = [[5.0, 4.0], [5.1, 4.2]] * 3
    for at in ({"kind": "compare", "at": "every"}, {"kind": "share", "share": 0.9}):
        assert curves(tmp_path / "1", {"a": fine, "b": [DIVERGED] * 6}, rivals=["b"], **at).verdict == "holds"
        assert curves(tmp_path / "2", {"a": [DIVERGED] * 6, "b": fine}, rivals=["b"], **at).verdict == "fails"
        assert (
            curves(tmp_path / "3", {"a": [DIVERGED] * 6, "b": [DIVERGED] * 6}, rivals=["b"], **at).verdict
            == "undecided"
        )
    assert curves(tmp_path / "4", {"a": [DIVERGED] * 6, "b": fine}, kind="share", at_most=1e12, share=0.5).effect == 0.0


def test_one_run_of_which_a_row_contradicts_it_is_enough_that_a_claim_about_every_row_cannot_hold(tmp_path):
    runs = [{"tnt": [0.70 + i / 1000, 0.80]} for i in range(12)]
    about = {"kind": "bound", "at": "every", "at_least": 0.6}
    assert series(tmp_path / "1", *runs, **about).verdict == "holds"
    found = series(tmp_path / "2", *runs[:-1], {"tnt": [0.599, 0.80]}, **about)
    assert (found.verdict, found.p, found.more) == ("undecided", 1.0, "")
    assert found.reason == "a row of 1 of 12 seeds contradicts it, so it cannot hold"
    below = [{"tnt": [0.50 + i / 1000, 0.80]} for i in range(12)]
    assert series(tmp_path / "3", *below, **about).verdict == "fails"


def test_a_tie_with_a_rival_contradicts_it_and_a_row_at_a_bound_does_not(tmp_path):
    values = [[2.0, 1.0], [2.1, 1.1], [2.2, 1.2], [2.3, 1.3], [2.4, 1.4], [2.5, 1.5], [2.6, 1.6]]
    rivals = [[3.0, 1.5], [3.3, 1.7], [3.1, 1.6], [3.2, 1.9], [3.4, 1.8], [3.6, 1.9], [3.7, 1.95]]
    ahead = curves(tmp_path / "1", {"a": values, "b": rivals}, kind="compare", rivals=["b"], at="every")
    assert ahead.verdict == "holds"
    tied = [*rivals[:-1], [3.7, 1.6]]
    found = curves(tmp_path / "2", {"a": values, "b": tied}, kind="compare", rivals=["b"], at="every")
    assert found.verdict == "undecided" and "1 of 7 seeds contradicts" in found.reason
    at_most = {"kind": "bound", "at": "every", "at_most": 2.6, "budgets": "any"}
    assert curves(tmp_path / "3", {"a": values, "b": rivals}, **at_most).verdict == "holds"
