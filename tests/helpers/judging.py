"""A report made in memory around one claim, and its verdict."""

from pathlib import Path

from sobench.report.claims import Verdict, judge
from sobench.report.evidence import Evidence
from sobench.report.schema.references import check_references
from sobench.report.schema.spec import Claim, Method, Report, Test
from sobench.results.collection import collect


def verdict_on(runs: list, root: Path, methods: dict[str, Method], **test) -> Verdict:
    """The verdict on a claim whose test has these keys, after the checks of a report that is read."""
    claim = Claim("c", "text", "source", Test(**({"better": "lower"} | test)))
    report = Report("t", "s", "e", methods, claims=[claim], id="p/x", file="p/x.yaml")
    check_references(report)
    return judge(Evidence(report, collect(runs, root)))[0]
