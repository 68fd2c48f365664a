"""Every description that ships is read; the numbers of `practical` are those of the paper."""

from functools import cache

import pytest

from sobench.config.grid import expand
from sobench.config.run import Run
from sobench.report import read, reports

PUBLISHED = {  # tables 1, 2, 3 of the paper
    "table-1": ("seconds", [222, 21257, 34933, 244, 246]),
    "table-2": ("train_loss", [0.2121, 2.305, 0.2837, 0.2614, 0.2049]),
    "table-3": ("test_accuracy", [0.9138, 0.1028, 0.9003, 0.9099, 0.9239]),
}
ORDER = ["sgd", "newton", "damped_newton", "hf_newton", "hf_gauss_newton"]


@pytest.mark.parametrize("report_id", reports())
def test_it_is_right(report_id):
    report = read(report_id)
    assert report.table or report.figure
    assert all(claim.reading for claim in report.claims)


@pytest.mark.parametrize(("artifact", "metric", "values"), [(name, *facts) for name, facts in PUBLISHED.items()])
def test_the_published_numbers(artifact, metric, values):
    report = read(f"practical/{artifact}")
    column = report.table.columns[0]
    assert list(report.methods) == ORDER and column.metric == metric
    assert [column.published[method] for method in ORDER] == values


def test_the_published_time_per_step_is_the_time_over_the_steps_of_seven_epochs():
    seconds, per_step = read("practical/table-1").table.columns
    for method in ORDER:
        assert per_step.published[method] == pytest.approx(seconds.published[method] / (7 * (60_000 // 64)), rel=2e-4)


ARTIFACTS = ("table-1", "table-2", "table-3", "fig-2", "fig-3", "fig-4", "fig-5")


@cache
def asked(artifact: str) -> list[Run]:
    return expand([f"experiment=practical/{artifact}", "budget=cpu"])


@pytest.mark.parametrize("artifact", ARTIFACTS)
def test_every_artifact_has_an_experiment_of_its_name_that_shares_the_runs_of_table_3(artifact):
    assert read(f"practical/{artifact}").experiment == f"practical/{artifact}"
    runs = {name: {run.id for run in asked(name)} for name in (artifact, "table-3")}
    assert runs[artifact] <= runs["table-3"]
    assert {run.label("optimizer") for run in asked(artifact)} == set(read(f"practical/{artifact}").methods)


def test_the_paper_makes_many_claims():
    assert sum(len(read(f"practical/{name}").claims) for name in ARTIFACTS) >= 8


@pytest.mark.parametrize("artifact", PUBLISHED)
def test_the_published_numbers_agree_with_the_readings(artifact):
    """What a claim is read as is true of the paper's own numbers: we do not ask more than the paper shows."""
    report = read(f"practical/{artifact}")
    published = {column.metric: column.published for column in report.table.columns}
    for claim in report.claims:
        test, value = claim.test, published[claim.test.metric]
        sign = 1 if test.better == "lower" else -1
        if test.kind == "compare":
            assert all(sign * value[test.subject] < sign * value[rival] for rival in test.rivals), claim.id
        else:
            shown = value[test.subject] / (value[test.rivals[0]] if test.rivals else 1)
            assert test.at_most is None or shown <= test.at_most, claim.id
            assert test.at_least is None or shown >= test.at_least, claim.id
