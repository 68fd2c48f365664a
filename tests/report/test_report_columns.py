"""Only the columns are read that a report may ask for."""

import pytest

from sobench.report import columns
from sobench.report.schema.catalogue import read, reports
from sobench.report.schema.panels import Panel, Trajectory
from sobench.report.schema.spec import Claim, Column, Figure, Method, Reach, Report, Table, Test


def a_report(**parts) -> Report:
    return Report("Title", "Source", "demo/digits", {"sgd": Method("SGD"), "adam": Method("Adam")}, **parts)


@pytest.mark.parametrize(
    "parts, names",
    [
        (
            {"table": Table([Column("test_error", "e", at={"highest": "validation_accuracy"})])},
            ["test_accuracy", "validation_accuracy"],
        ),
        ({"table": Table([Column("seconds", "s", reach=Reach("gap/{method}", at_most=1))])}, ["gap/sgd", "gap/adam"]),
        ({"table": Table([Column("state_bytes_over_parameters", "m")])}, ["state_bytes", "parameters"]),
        (
            {"figure": Figure([Panel("total_seconds", "loss (all)", "y")])},
            ["seconds", "warm_start_seconds", "loss (all)"],
        ),
        ({"figure": Figure([Trajectory("way")])}, ["start/0", "weight/1", "landscape/0.5/-1"]),
        (
            {"claims": [Claim("c", "t", "s", Test("share", ["a", "b"], "sgd", "lower", start={"work": 2.0}))]},
            ["a", "b", "work"],
        ),
        ({"table": Table([Column("|eta/{method}|", "e")])}, ["eta/b"]),
    ],
)
def test_every_metric_and_axis(parts, names):
    wanted = columns.of(a_report(**parts))
    assert all(map(wanted, names)) and not wanted("of_no_report") and not wanted("loss x(all)")


@pytest.mark.parametrize("report", [report for report in reports() if read(report).table])
def test_the_tables_of_the_shipped_reports(report):
    described = read(report)
    assert all(map(columns.of(described), (column.metric for column in described.table.columns)))
