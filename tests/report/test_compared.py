"""The rows of a comparison against a case worked by hand."""

import math

import numpy as np
import pytest

from sobench.report.compared import Comparison
from sobench.report.comparison import rows
from sobench.report.comparison.page import page
from sobench.report.comparison.study import LEVELS, Entry, Problem, Study

AXIS, END = "step", 10.0


def entry(*times: float) -> Entry:
    reached = np.array(times)
    seeds = tuple(range(len(times)))
    levels = {(AXIS, level): reached for level in LEVELS}
    ends = {AXIS: np.full(len(times), END)}
    return Entry(seeds, tuple(f"run-{seed}" for seed in seeds), "lr 0.1", 1.0 / reached, ends, levels, {}, 2.0)


@pytest.fixture
def compared() -> Comparison:
    entries = {"sgd": entry(2, 4, math.inf, 5), "<adam>": entry(1, math.inf, math.inf, math.inf)}
    levels = dict.fromkeys(LEVELS, 0.5)
    problem = Problem("digits", "digits, mlp", "train_loss", "lower", levels, "set by hand", entries)
    return Comparison(page(Study("By hand", "sobench compare", "sgd", ("sgd", "<adam>"), (AXIS,), (problem,))))


def test_pairs(compared):
    """Times of adam and sgd by seed: 1 and 2; missed and 4; both missed; missed and 5. Missed counts as the horizon."""
    (pair,) = compared.pairs.to_dict("records")
    assert (pair["axis"], pair["method"]) == (AXIS, "<adam>")
    assert pair["ratio"] == pytest.approx((1 / 2 * 10 / 4 * 10 / 5) ** (1 / 4)) and pair["faster"] == pytest.approx(
        1.5 / 4
    )
    assert (pair["pairs"], pair["one_missed"], pair["both_missed"]) == (4, 2, 1)
    assert (pair["wins"], pair["ties"], pair["losses"], pair["answer"]) == (0, 1, 0, "undecided")
    assert pair["ratios"] == {"digits": pair["ratio"]}  # the one problem
    assert pair["needs"]["of"] == "seeds" and pair["needs"]["count"] >= 1


def test_the_numbers_of_the_file_are_those_of_the_rows(compared):
    """Hand-computed as above; an infinite median is written, and an unknown end of an interval is left empty."""
    lines = rows.to_csv(compared.study, compared._page.numbers).splitlines()
    assert lines[0] == "axis,problem,method,what,value,low,high"
    found = {tuple(line.split(",")[1:4]): line.split(",")[4:] for line in lines[1:]}
    assert found["digits", "sgd", "median time"][0] == "4.0"
    assert found["digits", "<adam>", "median time"][0] == "inf"
    assert found["digits", "sgd", "share reached"] == ["0.75", "", ""]
    assert found["digits", "<adam>", "share reached"] == ["0.25", "", ""]
    assert float(found["", "<adam>", "ratio to the baseline"][0]) == pytest.approx((1 / 2 * 10 / 4 * 10 / 5) ** 0.25)
    assert found["digits", "<adam>", "ratio to the baseline"][1:] == ["", ""]
    assert float(found["", "<adam>", "P(faster)"][0]) == pytest.approx(1.5 / 4)
    (pair,) = compared.pairs.to_dict("records")
    for name, what in (("ratio", "ratio to the baseline"), ("faster", "P(faster)")):
        values = [float(text or "nan") for text in found["", "<adam>", what]]
        assert values == pytest.approx([pair[name], pair[f"{name}_low"], pair[f"{name}_high"]], nan_ok=True)
    assert ("", "sgd", "score") in found and ("", "<adam>", "adjusted p") in found and len(found) == 10


def test_times_ranks_and_runs(compared):
    sgd, adam = compared.times.to_dict("records")
    assert (sgd["method"], sgd["reached"], sgd["seeds"], sgd["median"]) == ("sgd", 3, 4, 4.0)
    assert (adam["reached"], adam["median"], adam["horizon"], adam["target"]) == (1, math.inf, END, 0.5)
    ranks = compared.ranks.to_dict("records")
    # sgd is the fastest on seeds 1 and 3, adam on seed 0
    assert [(rank["rank"], rank["method"]) for rank in ranks] == [(1, "sgd"), (2, "<adam>")]
    assert [rank["fastest"] for rank in ranks] == pytest.approx([2 / 4, 1 / 4])
    runs = compared.runs.to_dict("records")
    assert [(run["method"], run["seed"], run[AXIS]) for run in runs[:2]] == [("sgd", 0, 2.0), ("sgd", 1, 4.0)]
    assert runs[4]["id"] == "run-0" and runs[4]["final"] == 1.0


def test_the_page_of_a_notebook_escapes_names(compared):
    text = compared._repr_html_()
    assert "&lt;adam&gt;" in text and "<adam>" not in text
